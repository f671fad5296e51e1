"""The part of an ensemble that is TensorFlow's."""
