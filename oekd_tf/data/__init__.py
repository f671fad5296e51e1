"""From a data set's name, a folder or arrays to `tf.data`."""

from oekd_tf.data.dataset import Data
from oekd_tf.data.loading import load
from oekd_tf.data.share import Share

__all__ = ["Data", "Share", "load"]
