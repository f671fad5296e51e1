"""Formulas in plain NumPy, and small ensembles whose terms are compared with them."""

import keras
import numpy as np

import oekd_tf
from oekd_tf import methods, testing

CLASSES = 4
SHAPE = (8, 8, 3)
WIDTHS = (1.0, 0.5, 0.25)
# Of `small`: one ramp of 0.27 ends within the training.
STEPS_PER_EPOCH, EPOCHS = 4, 2


def log_softmax(z):
    shifted = np.asarray(z, np.float64)
    shifted = shifted - shifted.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax(z):
    return np.exp(log_softmax(z))


def kl(teacher, student, temperature=1.0):
    """T² KL(softmax(t/T) ‖ softmax(z/T)) of each example."""
    t, s = (log_softmax(np.asarray(z, np.float64) / temperature) for z in (teacher, student))
    return temperature**2 * (np.exp(t) * (t - s)).sum(-1)


def cross_entropy(labels, z):
    """Of each example; labels are indices or probabilities."""
    labels = np.asarray(labels)
    rows = np.eye(z.shape[-1])[labels] if labels.ndim == 1 else labels
    return -(rows * log_softmax(z)).sum(-1)


def ramp(step, share=0.27):
    """w(e) = exp(−5 (1 − p)²) with p the part of the share that is done."""
    done = min(step / (STEPS_PER_EPOCH * EPOCHS) / share, 1.0)
    return np.exp(-5 * (1 - done) ** 2)


def small(method, *, widths=WIDTHS, norm=True, optimizer=None, eager=True, plan=True, **arguments):
    """A small ensemble; other arguments are the method's."""
    keras.utils.set_random_seed(0)
    made = methods.get(method, **arguments)
    backbone = testing.SmoothCnn(norm=norm)
    ensemble = oekd_tf.OnlineEnsemble(backbone, SHAPE, CLASSES, widths, method=made)
    ensemble.compile(optimizer or keras.optimizers.SGD(0.05), jit_compile=False, run_eagerly=eager)
    if plan:
        ensemble.plan(STEPS_PER_EPOCH, EPOCHS)
    return ensemble


def data(views=0, count=8, seed=0):
    """(images, labels); with a number of views, images of that many."""
    rng = np.random.default_rng(seed)
    shape = (count, views, *SHAPE) if views else (count, *SHAPE)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, CLASSES, count)


def soft(count=8, seed=1):
    """Labels as after mixing, whose largest class is not always the same as a hard one's."""
    return np.random.default_rng(seed).dirichlet(np.ones(CLASSES), count).astype(np.float32)


def spread_logits(ensemble, scale=8.0):
    """Makes logits of an untrained ensemble differ, by larger kernels of the classifiers."""
    for student in ensemble.students:
        dense = student.layers[-1]
        dense.kernel.assign(scale * dense.kernel)
    return ensemble


def stacked(ensemble, outputs):
    """All students' logits, (students, batch, classes)."""
    return np.stack([np.asarray(outputs[s.name], np.float64) for s in ensemble.students])


def look(ensemble, images, labels, training=False, sample_weight=None):
    """(outputs, logits, terms) of a batch."""
    outputs = ensemble(images, training=training, with_parts=True)
    terms = ensemble.loss_terms(labels, outputs, sample_weight, images=images, training=training)
    return outputs, stacked(ensemble, outputs), {n: float(v) for n, v in terms.items()}


def values(variables):
    """Copies of variables."""
    return [v.numpy().copy() for v in variables]


def network_of(ensemble, index):
    """A student with averaged weights, as a network of its own."""
    student = ensemble.students[index]
    copy = keras.models.clone_model(student)
    for own, variable in zip(copy.variables, student.variables, strict=True):
        own.assign(ensemble.method.moving_averages.of(variable))
    return copy


def mean_logits(ensemble, images):
    """Each mean teacher in training mode, so with statistics of the batch, on its own view."""
    found = []
    for index in range(len(ensemble.students)):
        seen = images[:, index] if images.ndim == 5 else images
        found.append(network_of(ensemble, index)(seen, training=True))
    return np.stack(found).astype(np.float64)
