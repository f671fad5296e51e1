"""Inference with TensorFlow Lite Micro's interpreter, as a microcontroller runs a file."""

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np

from oekd_tf.core.native_output import quiet_native_output
from oekd_tf.core.regular import regular
from oekd_tf.device.arena import least_arena
from oekd_tf.device.quantization import dequantize, quantize


def version() -> str:
    """What the interpreter is, for records."""
    return f"tflite-micro {importlib.metadata.version('tflite-micro')}"


class MicroModel:
    """A TFLite classifier that TensorFlow Lite Micro's interpreter runs on raw images.

    Its plain kernels are those that a microcontroller runs, unless its maker replaced them, and its
    memory is one block, the *arena*. Pointers in it are of this machine's size, 64 bits. Kernels of
    a maker's own may need scratch memory on top.

    Args:
        model: Path or content of the file.
        arena_bytes: Size of the arena; the least that is enough if None.

    Attributes:
        content: Content of the file.
        arena_bytes: Size of the arena. It is what starting needs, which is more than what
            TensorFlow Lite Micro says is kept then.
        input: Type, shape, scale and zero point of the input.
        output: The same of the output.

    Raises:
        ValueError: The interpreter does not run the file, or not in so small an arena.
        ImportError: The interpreter is not installed.
        OSError: The file cannot be read.

    Example:
        >>> MicroModel("savedmodels/demo/student_5/int8.tflite").arena_bytes
    """

    def __init__(self, model: str | Path | bytes, arena_bytes: int | None = None):
        name = "its content" if isinstance(model, bytes) else str(model)
        self.content = model if isinstance(model, bytes) else regular(model).read_bytes()
        try:
            self.arena_bytes = least_arena(self.content, arena_bytes)
        except ValueError as error:
            where = f" in {arena_bytes:,} bytes" if arena_bytes else ""
            raise ValueError(
                "TensorFlow Lite Micro must be able to run a model. "
                f"Received: {name}{where}, of which it says: {error}"
            ) from None
        from tflite_micro import runtime

        with quiet_native_output():
            self._interpreter = runtime.Interpreter.from_bytes(
                self.content, arena_size=self.arena_bytes
            )
        self.input = self._interpreter.get_input_details(0)
        self.output = self._interpreter.get_output_details(0)
        if len(self.input["shape"]) != 4 or self.input["shape"][0] != 1:
            raise ValueError(
                "A model for microcontrollers must have an input of one image, (1, height, width, "
                f"channels). Received: {name} with {list(map(int, self.input['shape']))}"
            )

    @property
    def scales(self) -> tuple[tuple[float, int], tuple[float, int]]:
        """Scale and zero point of the input and of the output; scale 0 where not quantized."""
        return _scale_and_zero(self.input), _scale_and_zero(self.output)

    @property
    def output_scale(self) -> float:
        """What one step of a quantized output is; 0 where the output is not quantized."""
        return self.scales[1][0]

    def stored_input(self, image: np.ndarray) -> np.ndarray:
        """A raw image as the input stores it.

        Args:
            image: Raw pixels from 0 to 255, (height, width, channels).

        Returns:
            The input, (1, height, width, channels), in its own type.
        """
        return quantize(image[None], self.input["dtype"], *_scale_and_zero(self.input))

    def stored_output(self, image: np.ndarray) -> np.ndarray:
        """What the output stores for a raw image.

        Args:
            image: Raw pixels from 0 to 255, (height, width, channels).

        Returns:
            The output, (classes,), in its own type.
        """
        self._interpreter.set_input(self.stored_input(image), 0)
        self._interpreter.invoke()
        return np.array(self._interpreter.get_output(0)[0])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Runs images, one at a time.

        Args:
            images: Raw pixels from 0 to 255, (images, height, width, channels).

        Returns:
            Logits in float32, (images, classes).
        """
        classes = int(self.output["shape"][-1])
        stored = np.zeros((len(images), classes), self.output["dtype"])
        for number, image in enumerate(images):
            stored[number] = self.stored_output(np.asarray(image))
        return dequantize(stored, *_scale_and_zero(self.output))


def _scale_and_zero(tensor: dict[str, Any]) -> tuple[float, int]:
    given = tensor["quantization_parameters"]
    scales, zeros = np.ravel(given["scales"]), np.ravel(given["zero_points"])
    return (float(scales[0]), int(zeros[0])) if len(scales) else (0.0, 0)
