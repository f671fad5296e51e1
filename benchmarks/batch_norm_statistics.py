"""Asks whether the moving statistics of batch normalisation cost a finished run accuracy.

    python benchmarks/batch_norm_statistics.py --workdir=runs/compare_cifar10_jpeg_resnet8/seed_3

Evaluation normalises with moving averages of the last steps' batches, which lag behind weights that
still move, and which each branch keeps for itself. Here the test accuracy with them stands beside
that with the exact means over one pass of the training images as they are trained on.
"""

import numpy as np
from absl import flags

from oekd_tf.cli.parts import flags as command_line

_WORKDIR = flags.DEFINE_string("workdir", None, "Of a finished run.")


def main() -> None:
    flags.mark_flag_as_required("workdir")
    command_line.run(_measure)


def _measure() -> None:
    command_line.quiet_tensorflow()
    import keras

    from oekd_tf.core.tables import markdown_table
    from oekd_tf.training import restore_run

    config, data, model = restore_run(_WORKDIR.value)
    moving = _accuracies(model, data, config.batch_size)
    batches = data.train(
        config.batch_size, seed=config.seed, augmentation=tuple(config.data.augmentation)
    )
    norms = {
        id(layer): layer
        for student in getattr(model, "students", [model])
        for layer in student.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    }
    for number, (images, _) in zip(range(data.steps_per_epoch(config.batch_size)), batches):  # noqa: B905
        for layer in norms.values():
            # The mean of all batches so far.
            layer.momentum = number / (number + 1)
        model(images, training=True)
    exact = _accuracies(model, data, config.batch_size)
    rows = [
        {
            "network": name,
            "moving averages, %": f"{100 * moving[name]:.2f}",
            "exact means, %": f"{100 * exact[name]:.2f}",
        }
        for name in moving
    ]
    print(markdown_table(rows))


def _accuracies(model, data, batch_size: int) -> dict[str, float]:
    hits: dict[str, list[np.ndarray]] = {}
    for images, labels in data.test(batch_size):
        outputs = model(images, training=False)
        outputs = outputs if isinstance(outputs, dict) else {model.name: outputs}
        for name, logits in outputs.items():
            hits.setdefault(name, []).append(np.argmax(logits, -1) == labels.numpy())
    return {name: float(np.concatenate(values).mean()) for name, values in hits.items()}


if __name__ == "__main__":
    main()
