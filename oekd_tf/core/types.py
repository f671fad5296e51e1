"""Names for tensors, which Keras and its backends leave untyped."""

from typing import Any

# A tensor of Keras's backend.
Tensor = Any

# A symbolic tensor, of which functional models are built.
KerasTensor = Any
