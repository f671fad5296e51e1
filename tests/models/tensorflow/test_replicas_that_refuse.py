"""A step that one replica refuses leaves no trace, on a busy machine either."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROUNDS = 13  # of four refusals
LATE_SECONDS = 0.5  # in the first round, whose collective operations are the process's first

_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    pass"


@contextlib.contextmanager
def busy_machine(processes=4):
    """Keeps all processors busy; the processes also end with this one."""
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@pytest.mark.integration
@pytest.mark.slow
def test_refused_then_good_under_load():
    # In a process of its own: what fails here would fail every later test with replicas.
    with busy_machine():
        run = subprocess.run(
            [sys.executable, __file__],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.split() == ["refused", str(4 * ROUNDS), "good", str(4 * ROUNDS)]


def main():
    import time

    import keras
    import numpy as np
    import tensorflow as tf

    import oekd_tf
    from oekd_tf.core.errors import NonFiniteLossError
    from oekd_tf.models.distributed.strategy import make_strategy
    from oekd_tf.models.tensorflow import batch_checks

    class Root(keras.layers.Layer):
        """Has a gradient that is not a number where an image is of one colour."""

        def build(self, shape):
            self.kernel = self.add_weight(shape=(), initializer="ones", name="kernel")

        def call(self, x):
            spread = tf.reduce_max(tf.abs(x - x[:, :1, :1]), axis=(1, 2, 3), keepdims=True)
            return x + 1e-3 * tf.sqrt(self.kernel * spread)

    class Net(oekd_tf.backbones.Backbone):
        def stem(self, images):
            images = Root(name="root")(images)
            return keras.layers.Conv2D(4, 3, 2, padding="same", name="stem")(images)

        def branch(self, stem_output, width, name):
            # Not synchronized, so that each replica has moving statistics of its own.
            x = keras.layers.BatchNormalization(name=f"{name}_norm")(stem_output)
            x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
            pooled = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
            return oekd_tf.backbones.Branch((x,), pooled)

    number = 0

    def late(value):
        """The value, which the second replica has later."""
        if tf.distribute.get_replica_context()._replica_id != 1:
            return value

        def slow(x):
            time.sleep(LATE_SECONDS if number == 0 else 0)
            return x

        @tf.custom_gradient
        def identity(x):
            y = tf.py_function(slow, [x], x.dtype)
            y.set_shape(x.shape)
            return y, lambda gradient: gradient

        return identity(value)

    check_images, check_gradients = batch_checks.check_images, batch_checks.check_gradients
    batch_checks.check_images = lambda images, *rest, **more: check_images(
        late(images), *rest, **more
    )
    batch_checks.check_gradients = lambda gradients, *rest: check_gradients(
        [late(gradients[0]), *gradients[1:]], *rest
    )

    def batch(kind=None):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (8, 16, 16, 3)).astype(np.float32)
        labels = rng.integers(0, 4, 8).astype(np.int32)
        weights = np.ones(8, np.float32)
        # Example 5 of 8 is the second replica's.
        if kind == "images":
            images[5, 1, 1, 1] = np.nan
        elif kind == "labels":
            labels[5] = 7
        elif kind == "label_loss":
            weights[5] = np.nan
        elif kind == "gradient":
            images[5] = 17
        return images, labels, weights

    strategy = make_strategy("mirrored", logical_cpus=2)
    with strategy.scope():
        ensemble = oekd_tf.OnlineEnsemble(Net(), (16, 16, 3), num_classes=4, widths=(1.0, 0.5))
        ensemble.compile(oekd_tf.optimizers.SGD(0.01, momentum=0.9))
    metrics = {id(v) for v in ensemble.metrics_variables}

    def everywhere():
        """All variables on both replicas."""
        found = {}
        for variable in [*ensemble.variables, *ensemble.optimizer.variables]:
            if id(variable) not in metrics:
                for replica, part in enumerate(variable._value.values):
                    found[variable.path, replica] = part.numpy()
        return found

    def fit(images, labels, weights):
        ensemble.fit(images, labels, sample_weight=weights, verbose=0)

    refused = good = 0
    for number in range(ROUNDS):
        # `fit` and `evaluate` come to the same steps, but take a second each.
        train = ensemble.train_on_batch if number else fit
        for step, kinds in (
            (train, ("images", "label_loss", "gradient")),
            (ensemble.test_on_batch, ("labels",)),
        ):
            for kind in kinds:
                before = everywhere()
                with pytest.raises((ValueError, NonFiniteLossError), match=kind) as error:
                    step(*batch(kind))
                assert "\n" not in str(error.value), error
                refused += 1
                for name, value in everywhere().items():
                    np.testing.assert_array_equal(value, before[name], err_msg=str(name))
                step(*batch())
                good += 1
    print("refused", refused, "good", good)


if __name__ == "__main__":
    main()
