"""Speed and training of an ensemble under JAX, with the data set and the steps on the device.

    export KERAS_BACKEND=jax
    python benchmarks/gpu_jax.py --data=.gpu/data.npz
    python benchmarks/gpu_jax.py --data=.gpu/data.npz --train --method=oekd --method=dml

Without `--train` the images a second of training steps: many in one call of a compiled loop, and
one a call as `fit` does it. With it each method's ensemble and the narrowest student alone are
trained in turn for equally many epochs, as many as there is time for; images are augmented on the
device. Prints a line of JSON for each part that is done.
"""

import io
import json
import math
import time

import keras
import numpy as np
from absl import app, flags

_DATA = flags.DEFINE_string("data", "", "From gpu_prepare.py; made-up images with ''.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Of made-up images.")
_EXAMPLES = flags.DEFINE_integer("examples", 2048, "Of made-up images.")
_CLASSES = flags.DEFINE_integer("classes", 100, "Of made-up images.")
_DEPTH = flags.DEFINE_integer("depth", 20, "Of the CIFAR ResNet.")
_WIDTHS = flags.DEFINE_list("widths", ["1.0", "0.8", "0.6", "0.4", "0.2"], "Of the students.")
_BATCH_SIZES = flags.DEFINE_multi_integer("batch_size", [128, 1024], "Images a step.")
_MEASURE = flags.DEFINE_float("measure", 2.0, "Seconds that each measurement takes at least.")
_SPEED_PRECISIONS = flags.DEFINE_multi_enum(
    "speed_precision", ["bfloat16", "float32"], ["bfloat16", "float32"], "Measured without --train."
)
_TRAIN = flags.DEFINE_boolean("train", False, "Train instead of measuring speed.")
_METHODS = flags.DEFINE_multi_string("method", ["oekd", "dml"], "As of oekd compare.")
_SECONDS = flags.DEFINE_float("seconds", 300.0, "Time for --train, all in all.")
_EPOCHS = flags.DEFINE_integer("epochs", 0, "Of --train; as many as there is time for with 0.")
_TRAIN_BATCH = flags.DEFINE_integer("train_batch_size", 128, "Of --train.")
_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Of Adam in --train; falls as a cosine.")
_PRECISION = flags.DEFINE_string("precision", "mixed_bfloat16", "Of --train.")
_SEED = flags.DEFINE_integer("seed", 0, "Of --train.")

_PADDING = 4


def read_data() -> dict[str, np.ndarray]:
    """Arrays of the data set by the names of `keras.datasets`."""
    if not _DATA.value:
        rng = np.random.default_rng(0)
        size, found = _IMAGE_SIZE.value, {}
        for split, count in (("train", _EXAMPLES.value), ("test", _EXAMPLES.value // 8)):
            labels = rng.permutation(np.arange(count) % _CLASSES.value)
            # Classes that differ by how bright they are.
            bright = 200 * labels[:, None, None, None] // _CLASSES.value
            images = rng.integers(0, 56, (count, size, size, 3)) + bright
            found |= {f"x_{split}": images.astype(np.uint8), f"y_{split}": labels}
        return found
    from PIL import Image

    found = {}
    with np.load(_DATA.value) as arrays:
        for split in ("train", "test"):
            files, ends = arrays[f"files_{split}"].tobytes(), arrays[f"ends_{split}"].tolist()
            images = [
                np.asarray(Image.open(io.BytesIO(files[start:end])))
                for start, end in zip([0, *ends], ends, strict=False)
            ]
            found |= {f"x_{split}": np.stack(images), f"y_{split}": arrays[f"y_{split}"]}
    return found


def make_config(batch_size: int, precision: str, method: str, only_student: int = 0):
    """The config of a run, as a config file would have it."""
    from oekd_tf import config as config_module
    from oekd_tf.studies.plan import parse_methods

    config = config_module.default_config()
    config.backbone.arguments.depth = _DEPTH.value
    config.ensemble.widths = tuple(float(width) for width in _WIDTHS.value)
    config.batch_size, config.precision = batch_size, precision
    config.only_student, config.seed = only_student, _SEED.value
    config.optimizer.learning_rate = _RATE.value
    (overrides,) = parse_methods([method]).values()
    for field, value in overrides.items():
        section, _, name = field.rpartition(".")
        with config.unlocked():
            (config.method.arguments if section == "method.arguments" else config.method)[name] = (
                value
            )
    return config


def make_model(config, data, steps: int):
    """A compiled ensemble or student whose losses and metrics are built too."""
    from oekd_tf.core.keras_internals import symbolic_build
    from oekd_tf.training.build import build

    model = build(config, data.image_shape, data.num_classes, data.mean, data.std, steps)
    if config.only_student:
        shape = (config.batch_size, *data.image_shape)
        labels = keras.KerasTensor((config.batch_size,), "int32")
        symbolic_build(model, keras.KerasTensor(shape, "uint8"), labels)
    return model


def _variables(model) -> tuple[list, ...]:
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


class Loop:
    """Training steps of a model in one compiled call, its state kept on the device.

    Args:
        model: The compiled model.
        images: All training images, uint8, on the device.
        labels: Their classes.
        augment: Whether images are cropped with a padding of 4 and mirrored at random.
    """

    def __init__(self, model, images, labels, *, augment: bool):
        import jax

        self.model = model
        model.make_train_function()
        self.state = tuple([v.value for v in each] for each in _variables(model))

        def loop(state, order, key, steps, images, labels):
            def body(index, state):
                rows = order[index % len(order)]
                batch = images[rows]
                if augment:
                    batch = _augmented(batch, jax.random.fold_in(key, index))
                return model.train_step(state, (batch, labels[rows]))[1]

            return jax.lax.fori_loop(0, steps, body, state)

        self._loop = jax.jit(loop, donate_argnums=0)
        self._data = images, labels

    def run(self, order, key, steps: int) -> None:
        """Runs steps and waits for their end."""
        import jax

        self.state = self._loop(self.state, order, key, steps, *self._data)
        jax.block_until_ready(self.state)

    def give_back(self) -> dict[str, float]:
        """Gives the state to the model's variables; returns the logs so far and resets them."""
        for variables, values in zip(_variables(self.model), self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        logs = {n: float(v) for n, v in self.model.get_metrics_result().items()}
        self.model.reset_metrics()
        self.state = tuple([v.value for v in each] for each in _variables(self.model))
        return logs

    def set_learning_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""
        import jax.numpy as jnp

        own = self.model.optimizer.learning_rate
        names = [v is own for v in self.model.optimizer.variables]
        self.state[2][names.index(True)] = jnp.asarray(rate, own.dtype)


def _augmented(images, key):
    import jax
    import jax.numpy as jnp

    crop, flip = jax.random.split(key)
    start = jax.random.randint(crop, (len(images), 2), 0, 2 * _PADDING + 1)
    border = (_PADDING, _PADDING)
    padded = jnp.pad(images, ((0, 0), border, border, (0, 0)))

    def cut(image, offset):
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), images.shape[1:])

    cropped = jax.vmap(cut)(padded, start)
    mirrored = jax.random.bernoulli(flip, 0.5, (len(images), 1, 1, 1))
    return jnp.where(mirrored, cropped[:, :, ::-1], cropped)


def tell(**found) -> None:
    """Prints a line of JSON, for the script that started this one."""
    print(json.dumps(found), flush=True)


def measure_speed(data) -> None:
    """Images a second at each precision and batch size."""
    import jax
    import jax.numpy as jnp

    from oekd_tf import recipes

    for batch in _BATCH_SIZES.value:
        for precision in _SPEED_PRECISIONS.value:
            begin = time.perf_counter()
            policy = {"bfloat16": "mixed_bfloat16"}.get(precision, precision)
            config = make_config(batch, policy, "oekd")
            # All of its terms, and those of the rendering in PyTorch.
            recipes.papers_loss(config)
            model = make_model(config, data, 100)
            rng = np.random.default_rng(0)
            count = 8 * batch
            images = data.train_images(min(count, data.num_train))
            # The step is timed, not its input: a few batches, without augmentation.
            images = jnp.asarray(images[rng.integers(0, len(images), count)])
            labels = jnp.asarray(rng.integers(0, data.num_classes, count).astype(np.int32))
            order = jnp.arange(count).reshape(8, batch)
            loop = Loop(model, images, labels, augment=False)
            key = jax.random.key(0)
            built = time.perf_counter()
            loop.run(order, key, 1)
            first = time.perf_counter()
            for way, steps in (("loop of steps", 20), ("step by step", 1)):
                # Few steps in the tiny size.
                loop.run(order, key, steps if _MEASURE.value >= 1 else 1)
                best, began = float("inf"), time.perf_counter()
                while best == float("inf") or time.perf_counter() - began < _MEASURE.value:
                    start = time.perf_counter()
                    loop.run(order, key, steps)
                    best = min(best, (time.perf_counter() - start) / steps)
                tell(
                    part="throughput", framework="JAX", way=way, precision=precision, batch=batch,
                    images_per_second=batch / best, step_ms=1000 * best, start_s=first - begin,
                    build_s=built - begin,
                )  # fmt: skip


def evaluate(model, images: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracies, with one compiled batch size."""
    logs = model.evaluate(images, labels, batch_size=min(1000, len(images)), verbose=0,
                          return_dict=True)  # fmt: skip
    return {name: float(v) for name, v in logs.items() if name.endswith("accuracy")}


def train(data, begin: float) -> None:
    """Trains each method's ensemble and the narrowest student alone, equally long."""
    import jax
    import jax.numpy as jnp

    deadline = begin + _SECONDS.value
    batch, last = _TRAIN_BATCH.value, len(_WIDTHS.value)
    names = [*_METHODS.value, f"student {last} alone"]
    configs = [make_config(batch, _PRECISION.value, method) for method in _METHODS.value]
    configs.append(make_config(batch, _PRECISION.value, "oekd", only_student=last))
    steps = data.steps_per_epoch(batch)
    images, labels = (jnp.asarray(array) for array in data.train_arrays())
    epochs = _EPOCHS.value
    for place, (name, config) in enumerate(zip(names, configs, strict=True)):
        started = time.perf_counter()
        if place and started > deadline - 10:
            tell(part="failed", what=f"training of {name}", error="no time was left")
            continue
        model = make_model(config, data, steps)
        if not config.only_student and epochs:
            model.plan(steps, epochs)
        elif not config.only_student and model._depends_on_plan():
            error = "--epochs must be given for losses that follow a schedule"
            tell(part="failed", what=f"training of {name}", error=error)
            continue
        loop = Loop(model, images, labels.astype(np.int32), augment=True)
        shuffle = np.random.default_rng(_SEED.value)
        history, seconds, first = [], 0.0, 0.0
        epoch = 0
        while epoch < (epochs or 1) and (epoch == 0 or time.perf_counter() < deadline - 5):
            chosen = shuffle.permutation(data.num_train)[: steps * batch].reshape(steps, batch)
            key = jax.random.key(1000 * _SEED.value + epoch)
            if epoch == 0:
                # Compiled before it is timed.
                loop.run(jnp.asarray(chosen), key, 0)
                first = time.perf_counter() - started
            rate = 0.5 * _RATE.value * (1 + math.cos(math.pi * epoch / (epochs or 30)))
            loop.set_learning_rate(rate)
            start = time.perf_counter()
            loop.run(jnp.asarray(chosen), key, steps)
            took = time.perf_counter() - start
            seconds += took
            logs = loop.give_back()
            history.append({k: round(v, 5) for k, v in logs.items()})
            epoch += 1
            if not epochs:
                # The same number for all, with each one's compilation; a student alone takes less.
                ensembles = len(names) - 1
                left = deadline - time.perf_counter() - 15 * len(names)
                left -= (ensembles - 1 + 0.3) * first
                epochs = max(1, int(left / (took * (ensembles + 0.4))))
        loop.give_back()
        validation = evaluate(model, *data.validation_arrays())
        test = evaluate(model, *data.test_arrays())
        tell(
            part="training", run=name, epochs=epoch, planned=epochs, start_s=first,
            images_per_second=epoch * steps * batch / seconds, train_s=seconds,
            validation=validation, test=test, history=history, precision=_PRECISION.value,
        )  # fmt: skip


def main(argv: list[str]) -> None:
    del argv
    begin = time.perf_counter()
    import jax

    from oekd_tf.data.npz import ArrayData

    device = jax.devices()[0]
    data = ArrayData("data", **read_data())
    tell(
        part="machine", jax=jax.__version__, device=f"{device.platform} {device.device_kind}",
        keras=keras.__version__, data=data.splits_summary(),
    )  # fmt: skip
    if _TRAIN.value:
        train(data, begin)
    else:
        measure_speed(data)


if __name__ == "__main__":
    app.run(main)
