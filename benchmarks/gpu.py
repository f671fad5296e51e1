"""Five students on a GPU: speed under JAX and in plain PyTorch, then training while time is left.

    python benchmarks/gpu_prepare.py --data_dir=/data          # where TensorFlow and a network are
    pip install --no-deps --target=/tmp/site .gpu/whl/*.whl    # on the machine with the GPU
    PYTHONPATH=.:/tmp/site python benchmarks/gpu.py --seconds=540 --alone=1,4,5 --seeds=3
    PYTHONPATH=. python benchmarks/gpu.py --tiny

Runs `gpu_torch.py`, then `gpu_jax.py` with `--concurrent` and without, and at last its `--train` in
the faster of these two ways, each in a process of its own with its share of the time, and writes
results.md and results.json after every line that one of them prints: if this script is killed, what
was measured is there. The folder is $OUT, or --output. It also keeps what JAX compiled, as
jax_cache.zip: with --jax_cache the next run starts with that.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

from absl import app, flags
from gpu_results import Results

_SECONDS = flags.DEFINE_float("seconds", 540.0, "Time for everything.")
_PARTS = flags.DEFINE_multi_enum(
    "part", ["torch", "concurrent", "jax", "train"],
    ["check", "torch", "concurrent", "jax", "train"], "What is run.",
)  # fmt: skip
_SPEED_SHARE = flags.DEFINE_float("speed_share", 0.5, "Of the time, at most, for speed.")
_DATA = flags.DEFINE_string("data", ".gpu/data.npz", "From gpu_prepare.py.")
_OUTPUT = flags.DEFINE_string("output", os.environ.get("OUT", "gpu_results"), "Folder to write.")
_JAX_CACHE = flags.DEFINE_string("jax_cache", "", "jax_cache.zip of an earlier run.")
_METHODS = flags.DEFINE_multi_string("method", ["oekd"], "Trained one after the other.")
_ALONE = flags.DEFINE_string("alone", "", "Students trained alone, as 1,4,5; the last without.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Each trains all of them.")
_BATCH_SIZE = flags.DEFINE_integer("train_batch_size", 128, "Images a step of training.")
_RATE = flags.DEFINE_float("learning_rate", 0.1, "Of SGD; falls as a cosine.")
_CONCURRENT = flags.DEFINE_enum(
    "train_concurrent", "auto", ["auto", "yes", "no"], "Whether training is --concurrent."
)
_DEPTH = flags.DEFINE_integer("depth", 20, "Of the CIFAR ResNet: 20 or 110.")
_EPOCHS = flags.DEFINE_integer("epochs", 0, "Of training; as many as there is time for with 0.")
_COMPILE = flags.DEFINE_boolean("torch_compile", False, "Measure torch.compile too.")
_TINY = flags.DEFINE_boolean("tiny", False, "A tiny network and made-up images, for a CPU.")

_HERE = Path(__file__).parent
_TINY_FLAGS = (
    "--depth=8", "--image_size=8", "--classes=4", "--widths=1.0,0.2", "--batch_size=8",
    "--measure=0.1",
)  # fmt: skip
# Larger files are not worth their way back.
_LARGEST_CACHE = 15 * 2**20


def run_part(command: list[str], seconds: float, results: Results, environment: dict) -> None:
    """Runs a script, keeps each line of JSON that it prints, and stops it when its time is over."""
    what = " ".join(Path(command[1]).name if i == 1 else w for i, w in enumerate(command) if i)
    if seconds < 5:
        results.add({"part": "failed", "what": what, "error": "no time was left"})
        return
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    )  # fmt: skip
    errors: list[str] = []
    listener = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    listener.start()
    over = threading.Event()

    def stop() -> None:
        over.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        for line in process.stdout:
            print(line.rstrip()[:300], flush=True)
            if line.startswith("{"):
                results.add(json.loads(line))
        code = process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    listener.join(timeout=5)
    if over.is_set():
        results.add({"part": "failed", "what": what, "error": f"stopped after {seconds:.0f} s"})
    elif code:
        last = [line.strip() for line in errors if line.strip()][-1:]
        error = last[0] if last else f"exit code {code}"
        results.add({"part": "failed", "what": what, "error": error})
        print("".join(errors[-30:]), file=sys.stderr, flush=True)


def _concurrent_is_faster(lines: list[dict]) -> bool:
    """Whether students side by side were faster, where both ways were measured alike."""
    measured = {
        (line["way"], line["precision"], line["batch"]): line["images_per_second"]
        for line in lines
        if line["part"] == "throughput" and line["framework"] == "JAX"
    }
    return any(
        speed > measured.get(("loop of steps", precision, batch), float("inf"))
        for (way, precision, batch), speed in measured.items()
        if way.endswith("side by side")
    )


def main(argv: list[str]) -> None:
    del argv
    if {"check", "torch"} & set(_PARTS.value) and find_spec("torch") is None:
        raise app.UsageError(
            "--part=check and --part=torch need PyTorch, which is not installed; "
            "--part=concurrent, jax and train do without"
        )
    deadline = time.perf_counter() + _SECONDS.value
    results = Results(Path(_OUTPUT.value))
    cache = Path(_OUTPUT.value).resolve().parent / f".jax_cache_{os.getpid()}"
    cache.mkdir()
    if _JAX_CACHE.value:
        with zipfile.ZipFile(_JAX_CACHE.value) as file:
            file.extractall(cache)
    environment = {
        **os.environ, "KERAS_BACKEND": "jax", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "2",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
    }  # fmt: skip
    common = [*(_TINY_FLAGS if _TINY.value else [f"--depth={_DEPTH.value}"])]
    data = ["--examples=128"] if _TINY.value else [f"--data={_DATA.value}"]
    torch, jax = (
        [sys.executable, str(_HERE / name), *common] for name in ("gpu_torch.py", "gpu_jax.py")
    )
    speed_ends = deadline - (1 - _SPEED_SHARE.value) * _SECONDS.value
    if "train" not in _PARTS.value:
        speed_ends = deadline

    def left(end: float) -> float:
        return end - time.perf_counter()

    try:
        if "check" in _PARTS.value:
            on_cpu = {**environment, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
            run_part([*torch, "--check"], left(speed_ends), results, on_cpu)
        if "torch" in _PARTS.value:
            more = ["--compile"] if _COMPILE.value else []
            # JAX compiles longer than PyTorch, so that it needs more of the time.
            share = 0.4 if {"jax", "concurrent"} & set(_PARTS.value) else 1.0
            run_part([*torch, *more], share * left(speed_ends), results, environment)
        one_precision = ["--speed_precision=float32"]
        if "concurrent" in _PARTS.value:
            share = 0.45 if "jax" in _PARTS.value else 1.0
            one_size = [] if _TINY.value else ["--batch_size=128"]
            command = [*jax, *data, "--concurrent", *one_size, *one_precision]
            run_part(command, share * left(speed_ends), results, environment)
        if "jax" in _PARTS.value:
            more = one_precision if _TINY.value else []
            run_part([*jax, *data, *more], left(speed_ends), results, environment)
        if "train" in _PARTS.value:
            seconds = left(deadline) - 3
            methods = [f"--method={method}" for method in _METHODS.value]
            more = [
                "--train", f"--epochs={_EPOCHS.value or 2 * _TINY.value}", *methods,
                f"--seeds={_SEEDS.value}",
                f"--alone={_ALONE.value}", f"--learning_rate={_RATE.value}",
                f"--train_batch_size={16 if _TINY.value else _BATCH_SIZE.value}",
            ]  # fmt: skip
            if _CONCURRENT.value == "yes" or (
                _CONCURRENT.value == "auto" and _concurrent_is_faster(results.lines)
            ):
                more.append("--concurrent")
            command = [*jax, *data, *more, f"--seconds={seconds - 5:.0f}"]
            run_part(command, seconds, results, environment)
    finally:
        packed = results.folder / "jax_cache.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            # What was tuned is in folders of its own.
            for path in sorted(cache.rglob("*")):
                file.write(path, path.relative_to(cache))
        if packed.stat().st_size > _LARGEST_CACHE:
            packed.unlink()
        shutil.rmtree(cache, ignore_errors=True)
    print(results.markdown())


if __name__ == "__main__":
    app.run(main)
