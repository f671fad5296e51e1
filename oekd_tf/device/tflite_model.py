"""Inference with TFLite classifiers on raw images."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from oekd_tf.core.native_output import quiet_native_output
from oekd_tf.core.regular import regular
from oekd_tf.device.quantization import dequantize, quantize

# Batch size of files whose batch is free: fills the processor, and fits its memory.
_BATCH = 50


class TfliteModel:
    """A TFLite classifier that is run on raw images, whatever its input and output types.

    Args:
        model: Path or content of the file.
        threads: Number of threads of the interpreter.
        reference: Whether to run LiteRT's plain kernels instead of its fast ones. Theirs are the
            integers of TensorFlow Lite Micro; the fast ones round otherwise here and there.

    Attributes:
        input: LiteRT's details of the input.
        output: LiteRT's details of the output.

    Raises:
        ValueError: The file is not a TFLite file of one image input and one output.
        OSError: The file cannot be read.

    Example:
        >>> logits = TfliteModel("savedmodels/demo/student_5/int8.tflite").logits(images)
    """

    def __init__(self, model: str | Path | bytes, threads: int = 1, reference: bool = False):
        name = "its content" if isinstance(model, bytes) else str(model)
        self._content = model if isinstance(model, bytes) else regular(model).read_bytes()
        self._threads = threads
        self._kernels = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
        try:
            self._restart()
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"A model must be a TFLite file. Received: {name}, of which LiteRT says: {reason}"
            ) from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise ValueError(
                "A model must have one input, (batch, height, width, channels), and one output. "
                f"Received: {name} with inputs {[list(i['shape']) for i in inputs]} and "
                f"{len(outputs)} outputs"
            )
        (self.input,), (self.output,) = inputs, outputs

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an image."""
        height, width, channels = self.input["shape"][1:]
        return int(height), int(width), int(channels)

    @property
    def batch_size(self) -> int | None:
        """Batch size of the file; None if it is free."""
        size = int(self.input["shape_signature"][0])
        return None if size < 0 else size

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Runs images in batches where the file allows it.

        Args:
            images: Raw pixels from 0 to 255, (images, height, width, channels).

        Returns:
            Logits in float32, (images, classes).

        Raises:
            ValueError: The images have another shape.
        """
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != self.image_shape:
            raise ValueError(
                f"Images must be of shape (images, {', '.join(map(str, self.image_shape))}). "
                f"Received: {images.shape}"
            )
        if self.batch_size is not None:
            return self._run(images, self.batch_size)
        try:
            return self._run(images, _BATCH)
        except RuntimeError:
            # The converter may have put a batch of one into a constant, for instance where the
            # last feature maps are of 1×1 and pooling becomes a reshape.
            self._restart()
            return self._run(images, 1)

    def load(self, images: np.ndarray) -> None:
        """Sets the input to one batch of raw images, for `invoke`.

        Args:
            images: Raw pixels, (batch, height, width, channels).
        """
        batch = quantize(images, self.input["dtype"], *self.input["quantization"])
        if tuple(self._interpreter.get_input_details()[0]["shape"]) != batch.shape:
            with quiet_native_output():
                self._interpreter.resize_tensor_input(self.input["index"], batch.shape)
                self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self.input["index"], batch)

    def invoke(self) -> None:
        """Runs the network on the input that `load` set; nothing else, so that it can be timed."""
        self._interpreter.invoke()

    def result(self) -> np.ndarray:
        """Logits of the last `invoke` in float32, (batch, classes)."""
        stored = self._interpreter.get_tensor(self.output["index"])
        return dequantize(stored, *self.output["quantization"])

    def _restart(self) -> None:
        with quiet_native_output():
            self._interpreter = Interpreter(
                model_content=self._content,
                num_threads=self._threads,
                experimental_op_resolver_type=self._kernels,
            )
            self._interpreter.allocate_tensors()

    def _run(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        results = [np.zeros((0, int(self.output["shape"][-1])), np.float32)]
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            missing = batch_size - len(batch) if self.batch_size else 0
            # A file of a fixed batch takes full batches only; the last image fills it up.
            self.load(np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]))
            self.invoke()
            results.append(self.result()[: len(batch)])
        return np.concatenate(results)
