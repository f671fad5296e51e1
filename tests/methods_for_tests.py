"""Methods with a gate, with moving averages, and with a view for each student."""

import keras
from keras import ops

from oekd_tf.methods import Method
from oekd_tf.methods.parts import losses


@keras.saving.register_keras_serializable("oekd_tf_tests")
class Gated(Method):
    """ONE's form: a gate on the stem's output weighs the students in the teacher.

    L = Σ CE(y, z_i) + CE(y, z_E) + w Σ T² KL(sg z_E ‖ z_i), with z_E = Σ g_i z_i.
    """

    title = "gated ensemble"

    def __init__(self, temperature=3.0, ramp=0.27, **kwargs):
        super().__init__(**kwargs)
        self.temperature = temperature
        self.ramp = ramp

    def build(self, network):
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.gate = keras.layers.Dense(len(network.widths), dtype="float32", name="gate")
        self.norm = keras.layers.BatchNormalization(
            momentum=0.5, dtype="float32", name="norm",
            # JAX has no such thing, and one device.
            synchronized=keras.backend.backend() == "tensorflow",
        )  # fmt: skip
        self.gate.build((None, network.stem[-1]))
        self.norm.build((None, len(network.widths)))

    def loss_weights(self, progress):
        return {
            "label_loss": 1.0,
            "teacher_label_loss": 1.0,
            "distillation_loss": progress.sigmoid(self.ramp),
        }

    def shares(self, batch):
        """How much each student counts, (batch, students)."""
        scores = self.norm(self.gate(self.pool(batch.stem[0])), training=batch.training)
        return ops.softmax(scores, axis=-1)

    def teacher(self, batch):
        return ops.einsum("bs,sbc->bc", self.shares(batch), ops.stack(list(batch.logits)))

    def terms(self, batch):
        logits = ops.stack(list(batch.logits))
        divergence = losses.distillation_loss(batch.teacher, logits, self.temperature)
        return {
            "label_loss": ops.sum(batch.label_loss(logits), axis=0),
            "teacher_label_loss": batch.label_loss(batch.teacher),
            "distillation_loss": ops.sum(divergence, axis=0),
        }


@keras.saving.register_keras_serializable("oekd_tf_tests")
class Averaged(Method):
    """Each student follows the mean of the moving averages of all students.

    The averages are networks of their own: weights that follow the students' after every step.
    They are what is exported.
    """

    title = "mean teachers"

    def __init__(self, decay=0.9, temperature=3.0, **kwargs):
        super().__init__(**kwargs)
        self.decay = decay
        self.temperature = temperature

    def build(self, network):
        self.averages = [
            [self.add_average(variable) for variable in student.trainable_variables]
            for student in network.students
        ]
        for student, averages in zip(network.students, self.averages, strict=True):
            for variable, average in zip(student.trainable_variables, averages, strict=True):
                average.assign(variable)

    def loss_weights(self, progress):
        return {"label_loss": 1.0, "distillation_loss": 0.5 * progress.linear(1.0)}

    def teacher(self, batch):
        images = batch.images[:, 0] if len(batch.images.shape) == 5 else batch.images
        logits = []
        for student, averages in zip(batch.students, self.averages, strict=True):
            values = [ops.convert_to_tensor(average) for average in averages]
            state = [ops.convert_to_tensor(v) for v in student.non_trainable_variables]
            logits.append(student.stateless_call(values, state, images, training=False)[0])
        return ops.stop_gradient(ops.mean(ops.stack(logits), axis=0))

    def terms(self, batch):
        logits = ops.stack(list(batch.logits))
        divergence = losses.distillation_loss(batch.teacher, logits, self.temperature)
        return {
            "label_loss": ops.sum(batch.label_loss(logits), axis=0),
            "distillation_loss": ops.sum(divergence, axis=0),
        }

    def after_step(self, students, progress):
        for student, averages in zip(students, self.averages, strict=True):
            for variable, average in zip(student.trainable_variables, averages, strict=True):
                average.assign(self.decay * average + (1.0 - self.decay) * variable)

    def exported(self, students):
        models = []
        for student, averages in zip(students, self.averages, strict=True):
            model = keras.models.clone_model(student)
            model.set_weights(student.get_weights())
            for variable, average in zip(model.trainable_variables, averages, strict=True):
                variable.assign(average)
            models.append(model)
        return models


@keras.saving.register_keras_serializable("oekd_tf_tests")
class Views(Method):
    """A view for each student; each follows the mean of all, and counts held-out epochs."""

    title = "a view each"
    views = "students"

    def build(self, network):
        self.epochs_seen = self.add_weight(
            shape=(), trainable=False, initializer="zeros", name="epochs_seen"
        )

    def loss_weights(self, progress):
        return {"label_loss": 1.0, "distillation_loss": 0.5}

    def terms(self, batch):
        logits = ops.stack(list(batch.logits))
        return {
            "label_loss": ops.sum(batch.label_loss(logits), axis=0),
            "distillation_loss": ops.sum(
                losses.distillation_loss(batch.teacher, logits, 2.0), axis=0
            ),
        }

    def after_epoch(self, ensemble, held_out):
        if held_out is not None:
            self.epochs_seen.assign(self.epochs_seen + 1.0)

    def exported(self, students):
        return list(students[-1:])
