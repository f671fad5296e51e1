"""Speed and training of an ensemble under JAX, with the data set and the steps on the device.

    export KERAS_BACKEND=jax
    python benchmarks/gpu_jax.py --data=.gpu/data.npz
    python benchmarks/gpu_jax.py --data=.gpu/data.npz --train --method=oekd --alone=1,4,5 --seeds=3

Without `--train` the images a second of training steps: many in one call of a compiled loop, and
one a call as `fit` does it. With it each method's ensemble and some students alone are trained with
each seed in turn, all for the same number of epochs, as many as there is time for; images are
augmented on the device. Prints a line of JSON for each part that is done.
"""

import io
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

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
    "speed_precision", ["float32", "bfloat16"], ["bfloat16", "float32"], "Measured without --train."
)
_CONCURRENT = flags.DEFINE_boolean(
    "concurrent", False, "Record each step as a CUDA graph in which students run side by side."
)
_TRAIN = flags.DEFINE_boolean("train", False, "Train instead of measuring speed.")
_METHODS = flags.DEFINE_multi_string("method", ["oekd", "dml"], "As of oekd compare.")
_ALONE = flags.DEFINE_list("alone", [], "Students that --train trains alone; the last without.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Of --train.")
_SECONDS = flags.DEFINE_float("seconds", 300.0, "Time for --train, all in all.")
_EPOCHS = flags.DEFINE_integer("epochs", 0, "Of --train; as many as there is time for with 0.")
_TRAIN_BATCH = flags.DEFINE_integer("train_batch_size", 128, "Of --train.")
_RATE = flags.DEFINE_float("learning_rate", 0.1, "Of SGD in --train; falls as a cosine.")
_L2 = flags.DEFINE_float("l2", 1e-4, "Of --train.")
_PRECISION = flags.DEFINE_string("precision", "float32", "Of --train.")

_CUDA_GRAPHS = (
    "--xla_gpu_enable_command_buffer=+CONVOLUTION",
    "--xla_gpu_command_buffer_scheduling_mode=CONCURRENT",
)
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


def make_config(
    batch_size: int, precision: str, method: str, *, only_student: int = 0, seed: int = 0
):
    """The config of a run, as a config file would have it."""
    from oekd_tf import config as config_module
    from oekd_tf.studies.plan import parse_methods

    config = config_module.default_config()
    config.backbone.arguments.depth = _DEPTH.value
    config.ensemble.widths = tuple(float(width) for width in _WIDTHS.value)
    config.batch_size, config.precision = batch_size, precision
    config.only_student, config.seed = only_student, seed
    config.optimizer.name, config.optimizer.momentum = "sgd", 0.9
    config.optimizer.learning_rate, config.optimizer.l2 = _RATE.value, _L2.value
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

    def lowered(self, order, key):
        """The loop with Python done, to be compiled; `take` what that gives."""
        return self._loop.lower(self.state, order, key, 0, *self._data)

    def take(self, compiled) -> None:
        """Runs a compiled loop from now on."""
        self._loop = compiled

    def run(self, order, key, steps: int) -> None:
        """Runs steps and waits for their end."""
        import jax

        self.state = self._loop(self.state, order, key, steps, *self._data)
        jax.block_until_ready(self.state)

    def start_from(self, model) -> None:
        """Takes the state of another model of the same config, with another seed say."""
        import jax.numpy as jnp

        self.state = tuple([jnp.array(v.value) for v in each] for each in _variables(model))

    def give_back(self) -> None:
        """Gives the state to the model's variables."""
        for variables, values in zip(_variables(self.model), self.state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

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
            ways = {"loop of steps": 20, "step by step": 1}
            if _CONCURRENT.value:
                ways = {"loop, students side by side": 20}
            for way, steps in ways.items():
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
    """Trains each method's ensemble and students alone, with each seed, equally long."""
    import jax
    import jax.numpy as jnp

    deadline = begin + _SECONDS.value
    batch = _TRAIN_BATCH.value
    kinds = {method: (method, 0) for method in _METHODS.value}
    for student in _ALONE.value or [str(len(_WIDTHS.value))]:
        kinds[f"student {student} alone"] = ("oekd", int(student))
    steps, epochs = data.steps_per_epoch(batch), _EPOCHS.value
    images, labels = data.train_arrays()
    images, labels = jnp.asarray(images), jnp.asarray(labels.astype(np.int32))
    order = jnp.arange(steps * batch, dtype=jnp.int32).reshape(steps, batch)

    def built(name: str, seed: int):
        method, student = kinds[name]
        config = make_config(batch, _PRECISION.value, method, only_student=student, seed=seed)
        model = make_model(config, data, steps)
        if not student and epochs:
            model.plan(steps, epochs)
        elif not student and model._depends_on_plan():
            raise SystemExit("--epochs must be given for losses that follow a schedule")
        return model

    loops = {name: Loop(built(name, 0), images, labels, augment=True) for name in kinds}
    lowered = [loop.lowered(order, jax.random.key(0)) for loop in loops.values()]
    with ThreadPoolExecutor() as pool:
        for loop, compiled in zip(
            loops.values(), pool.map(lambda each: each.compile(), lowered), strict=True
        ):
            loop.take(compiled)
    # What a step takes, with states that are thrown away.
    seconds_a_step, few = {}, min(20, steps)
    for name, loop in loops.items():
        for warm_up in (1, few):
            loop.start_from(loop.model)
            start = time.perf_counter()
            loop.run(order, jax.random.key(0), warm_up)
            seconds_a_step[name] = (time.perf_counter() - start) / warm_up
        loop.start_from(loop.model)
    start_s = time.perf_counter() - begin
    if not epochs:
        # Evaluations compile once for each kind, and take a moment each.
        left = deadline - time.perf_counter() - 10 * len(kinds) - 3 * len(kinds) * _SEEDS.value
        all_steps = _SEEDS.value * steps * sum(seconds_a_step.values())
        epochs = max(1, int(left / all_steps))
    tell(
        part="plan", epochs=epochs, steps_per_epoch=steps, seeds=_SEEDS.value, start_s=start_s,
        step_ms={name: 1000 * each for name, each in seconds_a_step.items()}, batch=batch,
        learning_rate=_RATE.value, l2=_L2.value, precision=_PRECISION.value,
        concurrent=_CONCURRENT.value,
    )  # fmt: skip
    for seed in range(_SEEDS.value):
        for name, loop in loops.items():
            if deadline - time.perf_counter() < epochs * steps * seconds_a_step[name]:
                # A run cut short has not seen its small learning rates: it compares with nothing.
                tell(part="failed", what=f"{name}, seed {seed}", error="no time was left")
                continue
            if seed:
                loop.start_from(built(name, seed))
            shuffle = np.random.default_rng(seed)
            start = time.perf_counter()
            for epoch in range(epochs):
                chosen = shuffle.permutation(data.num_train)[: steps * batch]
                rate = 0.5 * _RATE.value * (1 + math.cos(math.pi * epoch / epochs))
                loop.set_learning_rate(rate)
                key = jax.random.key(1000 * seed + epoch)
                loop.run(jnp.asarray(chosen, jnp.int32).reshape(steps, batch), key, steps)
            took = time.perf_counter() - start
            loop.give_back()
            tell(
                part="training", run=name, seed=seed, epochs=epochs,
                images_per_second=epochs * steps * batch / took, train_s=took,
                validation=evaluate(loop.model, *data.validation_arrays()),
                test=evaluate(loop.model, *data.test_arrays()),
            )  # fmt: skip


def main(argv: list[str]) -> None:
    del argv
    begin = time.perf_counter()
    if _CONCURRENT.value:
        # Read when JAX starts.
        given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = " ".join([given, *_CUDA_GRAPHS]).strip()
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
