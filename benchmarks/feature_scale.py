"""How large the feature loss is, by depth of the network and by its scale, and of a run.

    python benchmarks/feature_scale.py
    python benchmarks/feature_scale.py --depths=8,110 --image_size=32
    python benchmarks/feature_scale.py --workdir=runs/cifar10_jpeg_resnet56

Of five CIFAR ResNets as initialised, on a batch of the embedded Fashion-MNIST, or of the ensemble
in a workdir, finished or stopped, on a batch of its training data: the smallest student's feature
loss, block by block, and the norm of the gradient that β L_I gives its branch over the norm that
α L_N gives it. Near 1 the pseudo teacher's features say as much about the next step as the labels.
"""

import numpy as np
from absl import app, flags

from oekd_tf.cli.parts import flags as command_line

_DEPTHS = flags.DEFINE_list("depths", ["8", "20", "56", "110"], "Of the CIFAR ResNet.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 8, "Height and width.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "Images.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Initial weights; means over them are shown.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Measure this run instead.")


def main(argv: list[str]) -> None:
    del argv
    command_line.quiet_tensorflow()
    from oekd_tf.core.tables import markdown_table

    print(markdown_table([_of_run()] if _WORKDIR.value else _by_depth()))


def _of_run():
    from oekd_tf.training import restore_run

    config, data, ensemble = restore_run(_WORKDIR.value)
    images, labels = next(iter(data.train(_BATCH_SIZE.value, seed=0)))
    return {"run": config.name, **_measure([ensemble], images, labels)}


def _by_depth():
    from oekd_tf import config as config_module
    from oekd_tf.data import load
    from oekd_tf.training import set_runtime

    config = config_module.default_config()
    set_runtime(config)
    size = (_IMAGE_SIZE.value, _IMAGE_SIZE.value)
    data = load("fashion_mnist_mini", image_size=size)
    images, labels = next(iter(data.train(_BATCH_SIZE.value, seed=0)))
    rows = []
    for depth in map(int, _DEPTHS.value):
        print(f"ResNet-{depth} ...", flush=True)
        ensembles = (_new(depth, data, seed) for seed in range(_SEEDS.value))
        rows.append({"depth": str(depth), **_measure(ensembles, images, labels)})
    return rows


def _new(depth, data, seed):
    import keras

    import oekd_tf

    keras.utils.set_random_seed(seed)
    return oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(depth=depth),
        (_IMAGE_SIZE.value, _IMAGE_SIZE.value, 1),
        data.num_classes,
        mean=data.mean,
        std=data.std,
        method=oekd_tf.methods.OEKD.paper(),
    )


def _measure(ensembles, images, labels):
    """The table's row: means over ensembles of the same network."""
    measured = [np.array(_of_ensemble(e, images, labels)) for e in ensembles]
    *blocks, absolute, relative = np.mean(measured, axis=0)
    return {
        **{f"block {number}": f"{value:.2f}" for number, value in enumerate(blocks, start=1)},
        "β L_I / α L_N": f"{absolute:.2f}",
        "with feature_scale=relative": f"{relative:.2f}",
    }


def _of_ensemble(ensemble, images, labels):
    import tensorflow as tf

    from oekd_tf import losses
    from oekd_tf.methods import Batch

    student, method = ensemble.students[-1], ensemble.method
    # Not the classifier, which the feature loss does not reach, nor the stem, which all share.
    variables = [
        variable.value
        for variable in student.trainable_variables
        if variable.path.startswith(student.name) and "logits" not in variable.path
    ]
    ratios = []
    for scale in ("absolute", "relative"):
        method.feature_scale = scale
        with tf.GradientTape(persistent=True) as tape:
            outputs = ensemble(images, training=True, with_parts=True)
            terms = ensemble.loss_terms(labels, outputs)
            feature = method.feature_weight * terms["feature_loss"]
            label = method.label_weight * terms["label_loss"]
        norms = [tf.linalg.global_norm(tape.gradient(t, variables)) for t in (feature, label)]
        ratios.append(float(norms[0] / norms[1]))
    parts = {name: outputs[name] for name in ("stem", "blocks", "features")}
    adapted = method.adapted(Batch(images=images, logits=[], **parts))[-1]
    pairs = zip(outputs["blocks"][0], adapted, strict=True)
    return [*(float(np.mean(losses.feature_loss(*pair))) for pair in pairs), *ratios]


if __name__ == "__main__":
    app.run(main)
