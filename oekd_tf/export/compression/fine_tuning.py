"""Fine-tuning of trained students for an export: pruned, clustered, trained in int8."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oekd_tf.core.errors import ExportError
from oekd_tf.core.records import KindFacts
from oekd_tf.export.compression.twin import make_twin

# Factors of the learning rate. A pruned kernel has to find its way back: at the rate that suits
# the others a ResNet-20 was still seven points down halfway. Clustered weights move together.
_RATES = {"pruned": 10.0, "clustered": 0.1, "qat": 1.0}


class FineTuning:
    """What `export_students` does for the formats pruned_, clustered_ and qat_.

    Each stage trains all students on from where the stage before left them, on labels and on the
    ensemble teacher's soft targets: the distillation goes on. Stages that several formats share
    are trained once. The students themselves stay as they are.

    Args:
        teacher: An `OnlineEnsemble`, a list of students whose mean logits teach, or a function
            from raw float32 images to logits of shape (batch, classes).
        train: Batches of raw images and labels, augmented as for the students' own training:
            class indices or probabilities. Each stage reads it from its start.
        steps_per_epoch: Number of training steps in an epoch.
        epochs: Number of epochs of each stage.
        learning_rate: Learning rate of Adam at the start of a stage; it falls to 0 along a
            cosine. Ten times as much for pruning, a tenth for clustering.
        temperature: Temperature T of the distillation loss.
        label_weight: Weight α of the labels' cross-entropy.
        distillation_weight: Weight γ of the divergence from the ensemble teacher.
        sparsity: Share of zeros in each kernel, from 0 to 1, for pruned_.
        clusters: Number of different weights in each kernel, for clustered_.

    Raises:
        ExportError: A package is missing, or an argument breaks its rule.

    Example:
        >>> fine_tuning = oekd_tf.compression.FineTuning(
        ...     ensemble, data.train(128, seed=1), data.steps_per_epoch(128), epochs=5)
        >>> oekd_tf.export.export_students(
        ...     ensemble, "savedmodels/run1", formats=("int8", "qat_int8"), fine_tuning=fine_tuning,
        ...     calibration_images=data.train_images(500), test_images=images, test_labels=labels)
    """

    def __init__(
        self,
        teacher: Any,
        train: tf.data.Dataset,
        steps_per_epoch: int,
        *,
        epochs: int = 5,
        learning_rate: float = 3e-4,
        temperature: float = 2.0,
        label_weight: float = 0.7,
        distillation_weight: float = 0.15,
        sparsity: float = 0.7,
        clusters: int = 16,
    ):
        for package in ("tf_keras", "tensorflow_model_optimization"):
            if importlib.util.find_spec(package) is None:
                raise ExportError(
                    "Fine-tuning for an export needs the packages tf_keras and "
                    "tensorflow-model-optimization (pip install 'oekd-tf[compression]'). "
                    f"Received: no {package}"
                )
        if not 0 <= sparsity < 1:
            raise ExportError(f"sparsity must be at least 0 and below 1. Received: {sparsity}")
        if clusters < 2:
            raise ExportError(f"clusters must be at least 2. Received: {clusters}")
        if not learning_rate > 0:
            raise ExportError(f"learning_rate must be above 0. Received: {learning_rate}")
        if min(steps_per_epoch, epochs) < 1:
            raise ExportError(
                "There must be at least one epoch of one step. "
                f"Received: {epochs} of {steps_per_epoch}"
            )
        if not (callable(teacher) or isinstance(teacher, Sequence)):
            raise ExportError(f"teacher must be callable. Received: {type(teacher).__name__}")
        self.teacher = teacher
        self.train = train
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.temperature = temperature
        self.label_weight = label_weight
        self.distillation_weight = distillation_weight
        self.sparsity = sparsity
        self.clusters = clusters
        # Of these students, which are held so that their ids stay theirs.
        self._students: list[Any] = []
        self._done: dict[tuple[str, ...], list[Any]] = {}

    def tune(
        self, students: Sequence[Any], stages: tuple[str, ...], progress: Callable[[str], None]
    ) -> list[tuple[Any, KindFacts]]:
        """Takes students through stages.

        Args:
            students: Functional Keras 3 models from raw images to logits.
            stages: Some of "pruned", "clustered" and "qat", in this order.
            progress: Called with a message for each epoch.

        Returns:
            For each student a tf_keras model to convert, and what the manifest says of it.

        Raises:
            ExportError: A layer of a student has no tf_keras twin.
        """
        if [id(student) for student in students] != [id(student) for student in self._students]:
            self._students, self._done = list(students), {}
        for count in range(len(stages) + 1):
            done = stages[:count]
            if done not in self._done:
                self._done[done] = (
                    self._stage(self._done[done[:-1]], done, progress)
                    if done
                    else [make_twin(student) for student in students]
                )
        return [(twin, {"fine_tuning": self._facts(twin, stages)}) for twin in self._done[stages]]

    def _stage(
        self, twins: list[Any], stages: tuple[str, ...], progress: Callable[[str], None]
    ) -> list[Any]:
        from oekd_tf.export.compression import clustering, pruning
        from oekd_tf.export.compression.quantization_aware import quantization_aware

        steps = self.epochs * self.steps_per_epoch
        callbacks, strip = [], None
        copies = [_copy(twin) for twin in twins]
        if stages[-1] == "pruned":
            networks = [pruning.prunable(copy, self.sparsity, steps) for copy in copies]
            callbacks, strip = pruning.callbacks(), pruning.strip
        elif stages[-1] == "clustered":
            zeros = "pruned" in stages
            networks = [clustering.clusterable(copy, self.clusters, zeros) for copy in copies]
            strip = clustering.strip
        else:
            keep = "clusters" if "clustered" in stages else "zeros" if "pruned" in stages else ""
            networks = [quantization_aware(copy, keep) for copy in copies]
        rate = self.learning_rate * _RATES[stages[-1]]
        self._train(networks, rate, callbacks, " ".join(stages), progress)
        return [strip(network) for network in networks] if strip else networks

    def _train(
        self,
        networks: list[Any],
        rate: float,
        callbacks: list[Any],
        what: str,
        progress: Callable[[str], None],
    ) -> None:
        import tf_keras

        from oekd_tf.export.compression.distilled_training import DistilledTraining, teacher_of

        training = DistilledTraining(
            networks,
            teacher_of(self.teacher),
            self.temperature,
            self.label_weight,
            self.distillation_weight,
        )
        schedule = tf_keras.optimizers.schedules.CosineDecay(
            rate, self.epochs * self.steps_per_epoch
        )
        training.compile(tf_keras.optimizers.Adam(schedule))

        def report(epoch: int, logs: dict[str, float]) -> None:
            accuracies = " ".join(f"{logs[f'{n.name}_accuracy']:.4f}" for n in networks)
            progress(
                f"fine-tuning {what}: epoch {epoch + 1}/{self.epochs} loss {logs['loss']:.4f}, "
                f"training accuracy {accuracies}"
            )

        training.fit(
            self.train,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.epochs,
            verbose=0,
            callbacks=[*callbacks, tf_keras.callbacks.LambdaCallback(on_epoch_end=report)],
        )

    def _facts(self, twin: Any, stages: tuple[str, ...]) -> Any:
        from oekd_tf.export.compression import clustering, pruning

        facts: dict[str, Any] = {
            "stages": list(stages),
            "epochs_a_stage": self.epochs,
            "steps_a_stage": self.epochs * self.steps_per_epoch,
            "learning_rates": [self.learning_rate * _RATES[stage] for stage in stages],
            "temperature": self.temperature,
            "label_weight": self.label_weight,
            "distillation_weight": self.distillation_weight,
        }
        kernels = _kernels(twin)
        if "pruned" in stages:
            facts["sparsity"] = pruning.sparsity_by_layer(kernels)
        if "clustered" in stages:
            facts["clusters"] = clustering.clusters_by_layer(kernels)
        return facts


def _copy(twin: Any) -> Any:
    import tf_keras

    copy = tf_keras.models.clone_model(twin)
    copy.set_weights(twin.get_weights())
    return copy


def _kernels(model: Any) -> dict[str, np.ndarray]:
    """Kernels of convolutions and dense layers as they are used in inference."""
    kernels = {}
    for layer in model.layers:
        inner = getattr(layer, "layer", layer)
        if type(inner).__name__ not in ("Conv2D", "Dense"):
            continue
        wrapped = getattr(layer, "_weight_vars", None)
        if wrapped:
            ((weight, quantizer, kept),) = wrapped
            kernels[inner.name] = np.asarray(quantizer(weight, training=False, weights=kept))
        else:
            kernels[inner.name] = np.asarray(inner.kernel)
    return kernels
