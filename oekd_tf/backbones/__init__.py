"""Network families that can be built at any width, and the protocol for one's own."""

from oekd_tf.backbones.backbone import Backbone, Branch, scale_channels
from oekd_tf.backbones.cifar_resnet import CifarResNet

__all__ = ["Backbone", "Branch", "CifarResNet", "scale_channels"]
