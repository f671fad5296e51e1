"""Small networks for tests."""

import math

import keras

import oekd_tf


@keras.saving.register_keras_serializable("oekd_tf_tests")
class PlainCnn(oekd_tf.backbones.Backbone):
    """Two convolutional blocks; with `norm=False`, each example is independent of its batch."""

    def __init__(self, channels=(8, 16), norm=True, synchronized_batch_norm=False, dropout=0.0):
        self.channels = tuple(channels)
        self.norm = norm
        self.dropout = dropout
        self.synchronized_batch_norm = synchronized_batch_norm

    def stem(self, images):
        return keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(images)

    def branch(self, stem_output, width, name):
        x, blocks = stem_output, []
        for number, full in enumerate(self.channels, start=1):
            channels = oekd_tf.backbones.scale_channels(full, width)
            prefix = f"{name}_block_{number}"
            x = keras.layers.Conv2D(channels, 3, 2, padding="same", name=prefix)(x)
            if self.norm:
                x = keras.layers.BatchNormalization(
                    synchronized=self.synchronized_batch_norm, name=f"{prefix}_norm"
                )(x)
            x = keras.layers.ReLU(name=f"{prefix}_relu")(x)
            blocks.append(x)
        if self.dropout:
            x = keras.layers.Dropout(self.dropout, name=f"{name}_dropout")(x)
        pooled = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return oekd_tf.backbones.Branch(tuple(blocks), pooled)


def plain_cnn_family(channels=(8, 16), synchronized_batch_norm=False):
    """A function that makes a family, as a config may name it."""
    return PlainCnn(channels, synchronized_batch_norm=synchronized_batch_norm)


def small_ensemble(
    widths=(1.0, 0.5, 0.25), norm=True, synchronized=False, method="oekd", oekd=None, **arguments
):
    """Three students for 16×16×3 images of four classes.

    Their loss is the paper's, which has every term; `oekd` are arguments of it that differ.
    """
    method = oekd_tf.methods.OEKD.paper(**(oekd or {})) if method == "oekd" else method
    return oekd_tf.OnlineEnsemble(
        PlainCnn(norm=norm, synchronized_batch_norm=synchronized),
        input_shape=(16, 16, 3),
        num_classes=4,
        widths=widths,
        method=method,
        **arguments,
    )


def build_alone(family, image_size, classes, width):
    """(model from raw images to logits, branch, parameters, parameters of the stem)."""
    images = keras.Input((image_size, image_size, 3))
    stem = family.stem(images)
    branch = family.branch(stem, width, "s")
    model = keras.Model(images, keras.layers.Dense(classes)(branch.features))
    return model, branch, trainable(model), trainable(keras.Model(images, stem))


def trainable(model):
    return sum(math.prod(v.shape) for v in model.trainable_variables)


def family_id(value):
    """A test's name from a family: its class and what is not a default."""
    if not isinstance(value, oekd_tf.backbones.Backbone):
        return None
    plain = type(value)().get_config()
    changed = [f"{v}" for k, v in value.get_config().items() if v != plain[k]]
    return "-".join([type(value).__name__, *changed])
