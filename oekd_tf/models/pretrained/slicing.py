"""Weights of narrower students as slices of a full-width network's."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from oekd_tf.backbones.parts import channels
from oekd_tf.backbones.parts.channels import Channels, Network
from oekd_tf.backbones.parts.tape import Step, Value, record
from oekd_tf.core.variables import as_array
from oekd_tf.models.pretrained.selection import Selection


class _Taken(NamedTuple):
    """Which channels of the full-width network a value has.

    Attributes:
        of: The channels of the full-width network.
        indices: For each channel which of them it is.
    """

    of: Channels
    indices: np.ndarray


def slice_weights(
    students: Sequence[keras.Model], rule: str, leave: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Gives narrower students slices of student 1's weights.

    A layer that has no counterpart in student 1, such as the projection of a shortcut, begins as
    what it stands for there, a choice of channels; its normalisation is new.

    Args:
        students: Models from images to logits, student 1 first, whose layers have its layers'
            names but for the prefix.
        rule: Rule of `Selection` by which channels are chosen.
        leave: Names of layers without prefix that keep what they have.

    Returns:
        For each student the names of its layers that are not from student 1.

    Raises:
        ValueError: It is not known what a layer does to its channels.
    """
    full = Network(record(students[0]))
    selection = Selection(full, rule)
    steps = {own_name(step.name): step for step in full.tape.steps}
    return {
        student.name: _slice(student, full, steps, selection, leave) for student in students[1:]
    }


def own_name(name: str) -> str:
    """A layer's name without the student's before it."""
    return re.sub(r"^student_\d+_", "", name)


def _slice(
    student: keras.Model,
    full: Network,
    steps: dict[str, Step],
    selection: Selection,
    leave: Sequence[str],
) -> list[str]:
    tape = record(student)
    whole = _Taken(full.of(full.tape.input), np.arange(tape.input.channels or 0))
    taken: dict[Value, list[_Taken]] = {tape.input: [whole]}
    new = []
    for step in tape.steps:
        there = steps.get(own_name(step.name))
        candidates = _candidates(step, taken)
        weights = channels.channel_weights(step.operation)
        if there is None:
            taken[step.output] = _without_counterpart(step, candidates, selection)
            if weights and not isinstance(step.operation, keras.layers.BatchNormalization):
                new.append(step.name)
            continue
        given = _fitting(candidates, full, there)
        made = _made(step, there, full, given, selection)
        taken[step.output] = [made] if made is not None else []
        shared = step.operation is there.operation
        if not weights or shared or own_name(step.name) in leave:
            continue
        if made is None or given is None or not _assign(step, there, given, made):
            new.append(step.name)
    return new


def _candidates(step: Step, taken: dict[Value, list[_Taken]]) -> list[_Taken]:
    """What the inputs have; of a concatenation, side by side."""
    if type(step.operation).__name__ == "Concatenate":
        firsts = [taken[value][0] for value in step.inputs if taken[value]]
        if len(firsts) < len(step.inputs):
            return []
        offsets = np.cumsum([0, *(sum(p.channels for p in t.of) for t in firsts)])
        of = tuple(part for t in firsts for part in t.of)
        pairs = zip(firsts, offsets, strict=False)
        return [_Taken(of, np.concatenate([t.indices + offset for t, offset in pairs]))]
    found: list[_Taken] = []
    for value in step.inputs:
        # The factors of a gate may be fewer than what they are applied to.
        if value.channels == step.output.channels or len(step.inputs) == 1:
            found += taken[value]
    return found


def _fitting(candidates: list[_Taken], full: Network, there: Step) -> _Taken | None:
    """What the layer takes in the full-width network, among what there is."""
    if type(there.operation).__name__ == "Concatenate":
        expected = [full.of(there.output)]
    else:
        expected = [full.of(value) for value in there.inputs]
    roots = [_roots(channels) for channels in expected]
    return next((c for c in candidates if _roots(c.of) in roots), None)


def _roots(parts: Channels) -> list[tuple[Any, int]]:
    return [(part.space.root(), part.channels) for part in parts]


def _made(
    step: Step, there: Step, full: Network, given: _Taken | None, selection: Selection
) -> _Taken | None:
    """What the output of a layer has."""
    of = full.of(there.output)
    if channels.makes_channels(step.operation):
        indices = selection.of(of[0], step.output.channels or 0)
        return None if indices is None else _Taken(of, indices)
    if given is None:
        return None
    if isinstance(step.operation, keras.layers.DepthwiseConv2D):
        multiplier = step.operation.depth_multiplier
        indices = (given.indices[:, None] * multiplier + np.arange(multiplier)).ravel()
        return _Taken(of, indices)
    if isinstance(step.operation, keras.layers.Flatten):
        before = sum(part.channels for part in given.of)
        pixels = (step.output.channels or 0) // len(given.indices)
        places = np.arange(pixels)[:, None] * before
        return _Taken(of, (places + given.indices).ravel())
    return _Taken(of, given.indices)


def _without_counterpart(
    step: Step, candidates: list[_Taken], selection: Selection
) -> list[_Taken]:
    if not channels.makes_channels(step.operation):
        return candidates
    if not candidates or len(candidates[0].of) != 1:
        return []
    given, count = candidates[0], step.output.channels or 0
    kept = selection.of(given.of[0], count)
    kernel = step.operation.weights[0]
    place = {int(index): number for number, index in enumerate(given.indices)}
    if kept is None or len(kernel.shape) != 4 or any(int(index) not in place for index in kept):
        return []
    value = np.zeros(kernel.shape, np.float32)
    rows, columns = (size // 2 for size in kernel.shape[:2])
    for number, index in enumerate(kept):
        value[rows, columns, place[int(index)], number] = 1.0
    kernel.assign(value)
    return [_Taken(given.of, kept)]


def _assign(step: Step, there: Step, given: _Taken, made: _Taken) -> bool:
    """Gives a layer its slice; False if that does not fit."""
    indices = {"in": given.indices, "out": made.indices}
    pieces = []
    pairs = zip(
        channels.weight_axes(there.operation),
        channels.channel_weights(there.operation),
        channels.channel_weights(step.operation),
        strict=True,
    )
    for axes, source, target in pairs:
        value = as_array(source)
        for axis, end in axes.items():
            chosen = indices[end]
            if chosen.size and chosen.max() >= value.shape[axis]:
                return False
            value = np.take(value, chosen, axis=axis)
        if tuple(value.shape) != tuple(target.shape):
            return False
        pieces.append((target, value))
    for target, value in pieces:
        target.assign(value)
    return True
