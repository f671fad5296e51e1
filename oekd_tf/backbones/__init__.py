"""Network families that can be built at any width, and the base class for users' own."""

from oekd_tf.backbones.backbone import (
    Backbone,
    Branch,
    fit_multiple,
    make_divisible,
    scale_channels,
)
from oekd_tf.backbones.cifar_resnet import CifarResNet
from oekd_tf.backbones.convolutional import ConvolutionalBackbone
from oekd_tf.backbones.densenet import DenseNet
from oekd_tf.backbones.efficientnet import EfficientNet
from oekd_tf.backbones.function_backbone import FunctionBackbone
from oekd_tf.backbones.imagenet_densenet import ImageNetDenseNet
from oekd_tf.backbones.mobilenet_v2 import MobileNetV2
from oekd_tf.backbones.mobilenet_v3 import MobileNetV3
from oekd_tf.backbones.pruned_network import PrunedNetwork, from_keras
from oekd_tf.backbones.resnet import ResNet
from oekd_tf.backbones.resnext import ResNeXt
from oekd_tf.backbones.wide_resnet import WideResNet

__all__ = [
    "Backbone",
    "Branch",
    "CifarResNet",
    "ConvolutionalBackbone",
    "DenseNet",
    "EfficientNet",
    "FunctionBackbone",
    "ImageNetDenseNet",
    "MobileNetV2",
    "MobileNetV3",
    "PrunedNetwork",
    "ResNeXt",
    "ResNet",
    "WideResNet",
    "fit_multiple",
    "from_keras",
    "make_divisible",
    "scale_channels",
]
