"""The five CIFAR ResNets and the paper's losses in plain PyTorch, to compare speed with.

    python benchmarks/gpu_torch.py --batch_size=128 --batch_size=1024
    KERAS_BACKEND=jax python benchmarks/gpu_torch.py --check

The same layers, order and defaults as `oekd_tf.backbones.CifarResNet` and `methods.OEKD.paper()`:
`--check` copies the weights of a Keras ensemble and compares each term of the loss. Prints a line
of JSON for each measurement. Needs neither Keras nor oekd_tf, but for `--check`.
"""

import json
import time

import numpy as np
import torch
from absl import app, flags
from torch import nn
from torch.nn import functional

_DEPTH = flags.DEFINE_integer("depth", 20, "Of the CIFAR ResNet.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 32, "Height and width.")
_CLASSES = flags.DEFINE_integer("classes", 100, "Number of classes.")
_BATCH_SIZES = flags.DEFINE_multi_integer("batch_size", [128, 1024], "Images a step.")
_WIDTHS = flags.DEFINE_list("widths", ["1.0", "0.8", "0.6", "0.4", "0.2"], "Of the students.")
_MEASURE = flags.DEFINE_float("measure", 2.0, "Seconds that each measurement takes at least.")
_COMPILE = flags.DEFINE_boolean("compile", False, "Measure with torch.compile too.")
_CHECK = flags.DEFINE_boolean("check", False, "Compare the losses with Keras's instead.")

_CHANNELS = (16, 32, 64)
_TEMPERATURE = 2.0
_LABEL, _FEATURE, _DISTILLATION = 0.7, 0.15, 0.15


class SameConv(nn.Conv2d):
    """A convolution without bias that pads as Keras does: with stride 2 below and right only."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = False):
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, bias=bias)

    def forward(self, x):
        if self.stride[0] == 2 and self.kernel_size[0] == 3:
            x = functional.pad(x, (0, 1, 0, 1))
        return super().forward(x)


class Ensemble(nn.Module):
    """Students that share a stem; a call gives logits and block outputs of each."""

    def __init__(self, depth: int, classes: int, widths, mean=127.5, std=127.5):
        super().__init__()
        self.mean, self.std = mean, std
        # By the names of Keras's layers.
        self.parts = nn.ModuleDict()
        self.widths, self.units = tuple(widths), (depth - 2) // 6
        self._conv_norm("stem", 3, 16, 3)
        for number, width in enumerate(self.widths, start=1):
            inputs = 16
            for block, full in enumerate(_CHANNELS, start=1):
                channels = max(1, int(full * width + 1e-6))
                for unit in range(1, self.units + 1):
                    name = f"student_{number}_block_{block}_unit_{unit}"
                    stride = 2 if block > 1 and unit == 1 else 1
                    if stride == 2 or inputs != channels:
                        self._conv_norm(f"{name}_shortcut", inputs, channels, 1, stride)
                    self._conv_norm(f"{name}_1", inputs, channels, 3, stride)
                    self._conv_norm(f"{name}_2", channels, channels, 3)
                    inputs = channels
                if number > 1:
                    name = f"student_{number}_block_{block}_adaptation"
                    self.parts[name] = SameConv(channels, full, 1, bias=True)
            self.parts[f"student_{number}_logits"] = nn.Linear(inputs, classes)

    def _conv_norm(self, name: str, inputs: int, outputs: int, kernel: int, stride: int = 1):
        self.parts[f"{name}_conv"] = SameConv(inputs, outputs, kernel, stride)
        nn.init.trunc_normal_(
            self.parts[f"{name}_conv"].weight, std=(2 / (inputs * kernel**2)) ** 0.5
        )
        self.parts[f"{name}_norm"] = nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1)

    def _apply_part(self, name: str, x):
        return self.parts[f"{name}_norm"](self.parts[f"{name}_conv"](x))

    def _student(self, number: int, x):
        blocks = []
        for block in range(1, len(_CHANNELS) + 1):
            for unit in range(1, self.units + 1):
                name = f"student_{number}_block_{block}_unit_{unit}"
                shortcut = x
                if f"{name}_shortcut_conv" in self.parts:
                    shortcut = self._apply_part(f"{name}_shortcut", x)
                y = functional.relu(self._apply_part(f"{name}_1", x))
                x = functional.relu(self._apply_part(f"{name}_2", y) + shortcut)
            blocks.append(x)
        with torch.autocast(x.device.type, enabled=False):
            logits = self.parts[f"student_{number}_logits"](x.float().mean((2, 3)))
        return logits, blocks

    def forward(self, images):
        x = (images.float() - self.mean) / self.std
        x = functional.relu(self._apply_part("stem", x))
        return zip(*(self._student(n, x) for n in range(1, len(self.widths) + 1)), strict=True)

    def loss_terms(self, images, labels) -> dict:
        """Label, feature and distillation loss, each summed over students, without weights."""
        logits, blocks = self(images)
        stacked = torch.stack(logits)
        label = sum(functional.cross_entropy(each, labels) for each in logits)
        teacher = functional.log_softmax(stacked.detach().mean(0) / _TEMPERATURE, -1)
        students = functional.log_softmax(stacked / _TEMPERATURE, -1)
        distance = (teacher.exp() * (teacher - students)).sum(-1)
        feature = stacked.new_zeros(())
        for number, own in enumerate(blocks[1:], start=2):
            for block, (target, student) in enumerate(zip(blocks[0], own, strict=True), start=1):
                adapted = self.parts[f"student_{number}_block_{block}_adaptation"](student)
                feature = feature + (adapted.float() - target.detach().float()).square().mean()
        return {
            "label_loss": label,
            "feature_loss": feature,
            "distillation_loss": _TEMPERATURE**2 * distance.sum(0).mean(),
        }

    def loss(self, images, labels):
        terms = self.loss_terms(images, labels)
        return (
            _LABEL * terms["label_loss"]
            + _FEATURE * terms["feature_loss"]
            + _DISTILLATION * terms["distillation_loss"]
        )

    def copy_from(self, layers: dict) -> None:
        """Takes the weights of Keras layers by their names."""
        with torch.no_grad():
            for name, part in self.parts.items():
                weights = [torch.tensor(np.asarray(w.value)) for w in layers[name].weights]
                if isinstance(part, nn.Conv2d):
                    part.weight.copy_(weights[0].permute(3, 2, 0, 1))
                elif isinstance(part, nn.Linear):
                    part.weight.copy_(weights[0].T)
                else:
                    values = (part.weight, part.bias, part.running_mean, part.running_var)
                    for own, value in zip(values, weights, strict=True):
                        own.copy_(value)
                    continue
                if part.bias is not None:
                    part.bias.copy_(weights[1])


def check() -> None:
    """Compares the losses of one batch in training mode with those of a Keras ensemble."""
    import keras

    import oekd_tf

    keras.utils.set_random_seed(0)
    size, classes = _IMAGE_SIZE.value, _CLASSES.value
    widths = [float(width) for width in _WIDTHS.value]
    family = oekd_tf.backbones.CifarResNet(_DEPTH.value)
    paper = oekd_tf.methods.OEKD.paper()
    theirs = oekd_tf.OnlineEnsemble(family, (size, size, 3), classes, widths, method=paper)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16, size, size, 3), dtype=np.uint8)
    labels = rng.integers(0, classes, 16)
    theirs.compile("adam")
    # The logs of the first step are the losses before it; weights are copied before.
    ours = Ensemble(_DEPTH.value, classes, widths).train()
    layers = {layer.name: layer for student in theirs.students for layer in student.layers}
    for each in theirs.adaptation:
        layers |= {layer.name: layer for layer in each}
    ours.copy_from(layers)
    expected = theirs.train_on_batch(images, labels, return_dict=True)
    found = ours.loss_terms(torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels))
    found["loss"] = ours.loss(torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels))
    differences = {}
    for name, value in found.items():
        theirs_value, value = float(expected[name]), value.item()
        differences[name] = abs(value / theirs_value - 1)
        print(f"{name}: {theirs_value:.6f} Keras, {value:.6f} PyTorch")
    if max(differences.values()) > 1e-3:
        raise SystemExit(f"losses must be equal to 1e-3. Received: {differences}")
    print(json.dumps({"part": "check", "largest_relative_difference": max(differences.values())}))


def measure(precision: str, batch: int, device: str, way: str) -> dict:
    """Images a second of training steps whose images are on the device already."""
    torch.manual_seed(0)
    begin = time.perf_counter()
    size = _IMAGE_SIZE.value
    model = Ensemble(_DEPTH.value, _CLASSES.value, [float(w) for w in _WIDTHS.value])
    model = model.to(device, memory_format=torch.channels_last).train()
    on_gpu = device == "cuda"
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-7, fused=True, capturable=on_gpu)
    images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, _CLASSES.value, (batch,), device=device)
    loss_of = torch.compile(model.loss) if way == "torch.compile" else model.loss

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize()

    run = step
    if way == "CUDA graph":
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    for _ in range(2):
        run()
    wait()
    first = time.perf_counter() - begin
    best, began = float("inf"), time.perf_counter()
    while best == float("inf") or time.perf_counter() - began < _MEASURE.value:
        start = time.perf_counter()
        for _ in range(5):
            run()
        wait()
        best = min(best, (time.perf_counter() - start) / 5)
    return {
        "part": "throughput", "framework": "PyTorch", "way": way, "precision": precision,
        "batch": batch, "images_per_second": batch / best, "step_ms": 1000 * best,
        "start_s": first,
    }  # fmt: skip


def main(argv: list[str]) -> None:
    del argv
    if _CHECK.value:
        check()
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # As JAX does with float32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    ways = [*(["CUDA graph"] if device == "cuda" else []), "step by step"]
    for way in [*ways, *(["torch.compile"] if _COMPILE.value else [])]:
        for batch in _BATCH_SIZES.value:
            for precision in ("bfloat16", "float32"):
                try:
                    found = measure(precision, batch, device, way)
                except RuntimeError as error:
                    line = str(error).strip().splitlines()[0]
                    found = {
                        "part": "failed", "what": f"PyTorch, {way}, {precision}, batch {batch}",
                        "error": line,
                    }  # fmt: skip
                print(json.dumps(found), flush=True)


if __name__ == "__main__":
    app.run(main)
