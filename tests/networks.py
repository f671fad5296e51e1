"""Small networks for tests."""

import keras

import oekd_tf


@keras.saving.register_keras_serializable("oekd_tf_tests")
class PlainCnn(oekd_tf.backbones.Backbone):
    """Two convolutional blocks; with `norm=False`, each example is independent of its batch."""

    def __init__(self, channels=(8, 16), norm=True, synchronized_batch_norm=False):
        self.channels = tuple(channels)
        self.norm = norm
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
        pooled = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return oekd_tf.backbones.Branch(tuple(blocks), pooled)


def small_ensemble(widths=(1.0, 0.5, 0.25), norm=True, synchronized=False, **arguments):
    """Three students for 16×16×3 images of four classes."""
    return oekd_tf.OnlineEnsemble(
        PlainCnn(norm=norm, synchronized_batch_norm=synchronized),
        input_shape=(16, 16, 3),
        num_classes=4,
        widths=widths,
        **arguments,
    )
