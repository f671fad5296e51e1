"""Damaged versions of JSON files: other values, missing and foreign fields, flipped bits."""

import copy
import json

ODD = (
    None, True, False, -1, 0, 1, 3, 2.7, -0.5, 1e30, float("nan"), float("inf"), float("-inf"),
    2**63, 10**400, "", "x", "../x", "/etc/passwd", "cat\ndog", "\x1b[31m", "\ud800", "$\\frac$",
    "<script>|", "a" * 1000, [], {}, [[]], [1], {"a": 1}, [None], {"": None},
)  # fmt: skip


def places(value, path=()):
    """Paths of all fields and elements."""
    found = [path] if path else []
    items = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        found += places(item, (*path, key))
    return found


def mutated(value, rng):
    """A copy with one field changed, deleted, moved or doubled."""
    value = copy.deepcopy(value)
    path = rng.choice(places(value))
    node = value
    for step in path[:-1]:
        node = node[step]
    last = path[-1]
    how = rng.choice(["odd"] * 6 + ["scale", "delete", "rename", "double", "swap"])
    old = node[last]
    if how == "scale" and isinstance(old, int | float) and not isinstance(old, bool):
        node[last] = old * rng.choice([-1, 0, 2, 1e3, 1e-3, 1e300])
    elif how == "delete":
        del node[last]
    elif how == "rename" and isinstance(node, dict):
        node[rng.choice([f"{last}x", "", "\n", "../x"])] = node.pop(last)
    elif how == "double" and isinstance(node, list):
        node.append(copy.deepcopy(old))
    elif how == "swap":
        other = rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node[last], node[other] = node[other], node[last]
    else:
        node[last] = copy.deepcopy(rng.choice(ODD))
    return value


def damaged_bytes(content, rng):
    """Content with some bits flipped, or its end cut off."""
    content = bytearray(content)
    if rng.random() < 0.3:
        return bytes(content[: rng.randrange(len(content))])
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def versions(value, rng, count):
    """So many damaged versions of a JSON value, as bytes with their number."""
    text = json.dumps(value)
    for number in range(count):
        if rng.random() < 0.2:
            yield damaged_bytes(text.encode(), rng), number
            continue
        # Not the value itself: parts of it may be one object in two places.
        other = mutated(json.loads(text), rng)
        if rng.random() < 0.2 and places(other):
            other = mutated(other, rng)
        yield json.dumps(other).encode(), number
