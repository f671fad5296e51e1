"""Gives the students of a new ensemble the weights of a network that was trained before."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from oekd_tf.backbones.parts import channels
from oekd_tf.backbones.parts.preprocessing import first_pixels
from oekd_tf.backbones.parts.tape import Step, Tape, record
from oekd_tf.core.variables import as_array
from oekd_tf.models.pretrained.slicing import own_name, slice_weights
from oekd_tf.models.pretrained.source import RULE, Source, run

# Of the largest feature: networks that differ in an epsilon of normalisation still are the same.
_MOST_APART = 1e-3
_MOST_APART_IN_HALF = 0.05
_CLASSIFIER = "logits"
# A size that five strides of 2 halve.
_EVEN = 32


class Start(NamedTuple):
    """What students began with.

    Attributes:
        source: What the weights are from.
        rule: How narrower students' channels were chosen.
        classifier: Whether the classifier is from there, too.
        new: For each student the names of its layers that are not from there.
    """

    source: str
    rule: str
    classifier: bool
    new: dict[str, tuple[str, ...]]

    def rates(self, students: Sequence[keras.Model], factor: float) -> dict[str, float]:
        """A factor of the learning rate by the path of each variable that is from the source.

        Args:
            students: The students, or some of them.
            factor: The factor, above 0.

        Raises:
            ValueError: It is not above 0.
        """
        if not 0 < factor < math.inf:
            raise ValueError(f"The factor of a learning rate must be above 0. Received: {factor}")
        new = {name for names in self.new.values() for name in names}
        return {
            variable.path: float(factor)
            for student in students
            for layer in student.layers
            if layer.name not in new
            for variable in layer.trainable_variables
        }

    def describe(self) -> str:
        """A line for a log."""
        classifier = "with its classifier" if self.classifier else "with a new classifier"
        return (
            f"students begin with weights of {self.source}: student 1 with all of them, others "
            f"with a slice ({self.rule}), {classifier}"
        )


def start(students: Sequence[keras.Model], source: Source, rule: str) -> Start:
    """Gives student 1 the weights of a network, and the others slices of them.

    Layers are paired by name, or, where names differ, in order. The classifier is taken if it has
    the same number of classes. That student 1 then computes the features that the network computes
    is checked on random images.

    Args:
        students: Models from images to logits, student 1 first.
        source: The network.
        rule: How channels are chosen, as in `Selection`.

    Returns:
        What students began with.

    Raises:
        ValueError: The network is another than student 1's; the message names a layer that differs.
    """
    tape = record(students[0])
    steps = [step for step in tape.steps if channels.channel_weights(step.operation)]
    pairs, head = _pairs(steps, source)
    for step, (name, weights) in pairs:
        _give(step, name, weights, source)
    classifier = steps[-1]
    kept = head is not None and _fits(classifier, head[1])
    if head is not None and kept:
        _give(classifier, *head, source)
    if source.tape is not None:
        _check(tape, source.tape, head, source.name)
    sliced = slice_weights(students, rule, leave=() if kept else (_CLASSIFIER,))
    new: dict[str, tuple[str, ...]] = {students[0].name: () if kept else (classifier.name,)}
    for student in students[1:]:
        own = () if kept else (f"{student.name}_{_CLASSIFIER}",)
        new[student.name] = (*sliced[student.name], *own)
    return Start(source.name, rule, kept, new)


Layer = tuple[str, list[np.ndarray]]


def _pairs(steps: list[Step], source: Source) -> tuple[list[tuple[Step, Layer]], Layer | None]:
    """Layers of student 1 and of the source, and the source's classifier."""
    if len(source.layers) not in (len(steps) - 1, len(steps)):
        raise ValueError(
            f"{RULE} It must be of student 1's network, of {len(steps) - 1} layers with weights "
            f"and a classifier. Received: {source.name!r}, of {len(source.layers)} layers with "
            "weights"
        )
    named = {own_name(layer[0]): layer for layer in source.layers}
    # A network that others have built knows no stem.
    for prefix in ("", "stem_"):
        wanted = [own_name(step.name).removeprefix(prefix) for step in steps[:-1]]
        if all(name in named for name in wanted):
            found = [named[name] for name in wanted]
            taken = {id(layer) for layer in found}
            rest = [layer for layer in source.layers if id(layer) not in taken]
            return list(zip(steps[:-1], found, strict=True)), rest[-1] if rest else None
    head = source.layers[-1] if len(source.layers) == len(steps) else None
    return list(zip(steps[:-1], source.layers, strict=False)), head


def _give(step: Step, name: str, weights: list[np.ndarray], source: Source) -> None:
    targets = channels.channel_weights(step.operation)
    same = len(targets) == len(weights) and all(
        _flat(weight.shape) == _flat(target.shape)
        for weight, target in zip(weights, targets, strict=True)
    )
    if not same:
        shapes = [tuple(target.shape) for target in targets]
        flattened = shapes and [len(s) for s in (shapes[0], weights[0].shape)] == [2, 2]
        flattened = flattened and shapes[0][1] == weights[0].shape[1]
        hint = "; after a Flatten a network is tied to its size of images" if flattened else ""
        raise ValueError(
            f"{RULE} It must be of student 1's network. Received: {source.name!r}, whose layer "
            f"{name!r} has weights of shapes {[w.shape for w in weights]}, where student 1's "
            f"{step.name!r} has {shapes}{hint}"
        )
    for weight, target in zip(weights, targets, strict=True):
        target.assign(weight.reshape(target.shape))


def _flat(shape: Sequence[int]) -> list[int]:
    """A shape by which a dense layer is a convolution of one pixel."""
    return [size for size in shape if size != 1]


def _fits(step: Step, weights: list[np.ndarray]) -> bool:
    targets = channels.channel_weights(step.operation)
    return [_flat(w.shape) for w in weights] == [_flat(t.shape) for t in targets]


def _check(tape: Tape, there: Tape, head: Layer | None, name: str) -> None:
    """Raises unless both networks compute the same features of normalised images."""
    inner, _ = first_pixels(tape)
    end = there.output
    if head is not None:
        end = next(step for step in there.steps if step.name == head[0]).inputs[0]
    size = _size(there, tape)
    images = np.random.default_rng(0).normal(0.0, 1.0, (2, *size)).astype(np.float32)
    expected = as_array(run(there, images, end)).reshape(2, -1).astype(np.float32)
    found = as_array(run(inner, images, inner.steps[-1].inputs[0])).reshape(2, -1)
    most = _MOST_APART if found.dtype == np.float32 else _MOST_APART_IN_HALF
    apart = np.inf
    if found.shape == expected.shape:
        apart = np.abs(found.astype(np.float32) - expected).max() / max(
            np.abs(expected).max(), 1e-6
        )
    if not apart <= most:
        raise ValueError(
            f"{RULE} It must compute what student 1 does. Received: {name!r}, whose layers "
            f"have the same weights and give other features, {apart:.2g} of the largest apart"
        )


def _size(there: Tape, tape: Tape) -> tuple[int, ...]:
    """Height, width and channels of images that both networks take."""
    own = tape.input.shape[1:]
    # Where a size is odd before a stride, networks of other libraries pad otherwise.
    rounded = (*(-(-(size or 1) // _EVEN) * _EVEN for size in own[:2]), own[2])
    pairs = zip(there.input.shape[1:], rounded, strict=True)
    return tuple(size or mine or 1 for size, mine in pairs)
