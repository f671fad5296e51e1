"""What the training steps of both backends use of an ensemble, for type checkers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import keras

    from oekd_tf.core.types import Tensor
    from oekd_tf.methods.parts.method import Method
    from oekd_tf.methods.parts.progress import Progress
    from oekd_tf.models.attribution.overlay import IntegratedGradientsOverlay

    class TrainedEnsemble(keras.Model):
        """An ensemble as its trainer sees it: a Keras model with these members."""

        method: Method
        overlay: IntegratedGradientsOverlay | None
        students: list[keras.Model]
        image_shape: tuple[int, ...]
        num_classes: int
        train_function: Any
        test_function: Any
        predict_function: Any

        @property
        def stem_frozen(self) -> bool: ...

        @property
        def trained_variables(self) -> list[keras.Variable]: ...

        def initial_weights(self) -> AbstractContextManager: ...

        def prepare_students(self) -> None: ...

        def choose_jit_compile(self, asked: bool | str) -> bool | str: ...

        def asserts_finite(self) -> bool: ...

        def check_arrays(self, labels: Any, validation_data: Any) -> None: ...

        def steps_done(self) -> Tensor: ...

        def loss_terms(
            self,
            labels: Tensor,
            outputs: dict,
            sample_weight: Tensor | None = None,
            *,
            images: Tensor | None = None,
            training: bool = False,
            stored: Tensor | None = None,
        ) -> dict[str, Tensor]: ...

        def weigh(self, terms: dict[str, Tensor], size: Any, training: bool) -> Tensor: ...

        def check_labels_given(self, labels: Tensor | None) -> None: ...

        def _progress(self, training: bool) -> Progress: ...

else:
    # A trainer is a mixin: `OnlineEnsemble` has the members, and `keras.Model` for a base.
    TrainedEnsemble = object
