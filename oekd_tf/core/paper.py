"""Settings of the paper, of which this package's defaults differ.

Source: Walawalkar, Shen, Savvides, https://arxiv.org/abs/2011.07449, section 4.
"""

from typing import Any

# Arguments of `methods.OEKD` with the paper's loss: α, β, γ and T of its CIFAR-100 ResNets.
OEKD_ARGUMENTS: dict[str, Any] = {
    "temperature": 2.0,
    "label_weight": 0.7,
    "feature_weight": 0.15,
    "distillation_weight": 0.15,
    "features": "mse",
    "feature_scale": "absolute",
    "teacher_weights": None,
    "stem_gradient": "all",
}
