"""Trains small ensembles on N replicas and stores what came of it, case by case.

    python tests/replica_cases.py REPLICAS OUTPUT.npz CASE...

A process for each number of replicas: a second MirroredStrategy in a process fails.
"""

import sys

from oekd_tf.cli.parts.flags import quiet_tensorflow

quiet_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from networks import PlainCnn  # noqa: E402

import oekd_tf  # noqa: E402
from oekd_tf.models.distributed.strategy import make_strategy  # noqa: E402

BATCH = 16
PAPER = (0.7, 0.15, 0.15)


def sgd():
    """A step of it changes each weight by its gradient."""
    return keras.optimizers.SGD(1.0)


def momentum():
    return oekd_tf.optimizers.SGD(0.05, 0.9, l2=1e-4)


def clipped():
    return oekd_tf.optimizers.SGD(0.05, 0.9, global_clipnorm=0.5)


def adam():
    return oekd_tf.optimizers.Adam(1e-3)


def keras_adam():
    return keras.optimizers.Adam(1e-3)


# optimizer, examples, and what differs from the plain case.
CASES = {
    "gradient_of_labels": (sgd, BATCH, {"weights": (1, 0, 0)}),
    "gradient_of_features": (sgd, BATCH, {"weights": (0, 1, 0)}),
    "gradient_of_distillation": (sgd, BATCH, {"weights": (0, 0, 1)}),
    "gradient": (sgd, BATCH, {}),
    "gradient_resnet": (sgd, BATCH, {"resnet": True}),
    "sgd": (momentum, 6 * BATCH, {}),
    "clipped": (clipped, 6 * BATCH, {}),
    "adam": (adam, 6 * BATCH, {}),
    "keras_adam": (keras_adam, 6 * BATCH, {}),
    "mixed_float16": (momentum, 3 * BATCH, {"dtype": "mixed_float16"}),
    "mixed_bfloat16": (momentum, 3 * BATCH, {"dtype": "mixed_bfloat16"}),
    "sample_weight": (momentum, 6 * BATCH, {"sample_weight": True}),
    "teacher_weights": (
        momentum, 3 * BATCH,
        {"oekd": {"teacher_weights": (0.5, 0.3, 0.2), "stem_gradient": "pseudo_teacher"}},
    ),
    # The last batch is shared out 6 and 5, or 3, 3, 3 and 2.
    "uneven": (momentum, 2 * BATCH + 11, {}),
    # Of the last batch one replica has the only example.
    "empty": (momentum, BATCH + 1, {}),
}  # fmt: skip


class Steps(keras.callbacks.Callback):
    """What is logged after each step."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(dict(logs))


def run(strategy, optimizer, examples, weights=PAPER, resnet=False, sample_weight=False, **network):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    parts = (
        rng.integers(0, 256, (examples, 16, 16, 3), dtype=np.uint8),
        rng.integers(0, 4, examples).astype(np.int32),
        rng.random(examples).astype(np.float32),
    )
    synchronized = strategy.num_replicas_in_sync > 1
    family = oekd_tf.backbones.CifarResNet(8) if resnet else PlainCnn()
    family.synchronized_batch_norm = synchronized
    with strategy.scope():
        names = ("label_weight", "feature_weight", "distillation_weight")
        oekd = {**dict(zip(names, weights, strict=True)), **network.pop("oekd", {})}
        method = oekd_tf.methods.OEKD.paper(**oekd)
        ensemble = oekd_tf.OnlineEnsemble(
            family, (16, 16, 3), 4, (1.0, 0.5, 0.25), method=method, **network
        )
        ensemble.compile(optimizer())
    before = [np.array(v) for v in ensemble.trainable_variables]
    data = tf.data.Dataset.from_tensor_slices(parts if sample_weight else parts[:2]).batch(BATCH)
    steps = Steps()
    found = {}
    history = ensemble.fit(data, verbose=0, callbacks=[steps]).history
    for name, (value,) in history.items():
        found[f"epoch/{name}"] = value
    for number, logs in enumerate(steps.logs):
        for name, value in logs.items():
            found[f"step/{number}/{name}"] = value
    for name, value in ensemble.evaluate(data, verbose=0, return_dict=True).items():
        found[f"evaluation/{name}"] = value
    for variable, old in zip(ensemble.trainable_variables, before, strict=True):
        kind = "gradient" if optimizer is sgd else "weight"
        found[f"{kind}/{variable.path}"] = np.array(variable) - old
    for variable in ensemble.non_trainable_variables:
        if "moving" in variable.name:
            local = [np.array(v) for v in strategy.experimental_local_results(variable.value)]
            for other in local[1:]:
                np.testing.assert_array_equal(other, local[0], err_msg=variable.path)
            found[f"statistics/{variable.path}"] = local[0]
    return found


def main():
    replicas, output, *cases = sys.argv[1:]
    name = "none" if replicas == "1" else "mirrored"
    strategy = make_strategy(name, logical_cpus=0 if replicas == "1" else int(replicas))
    assert strategy.num_replicas_in_sync == int(replicas)
    found = {}
    for case in cases:
        optimizer, examples, arguments = CASES[case]
        for key, value in run(strategy, optimizer, examples, **arguments).items():
            found[f"{case}/{key}"] = value
    np.savez(output, **found)


if __name__ == "__main__":
    main()
