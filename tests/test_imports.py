"""Imports run one way, and names that others have are in one place."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "oekd_tf"

# Each may import those behind it, and itself.
LAYERS = (
    "testing", "cli", "studies", "training", "config", "data", "export", "device", "models",
    "methods", "backbones", "core",
)  # fmt: skip
# Methods and networks know nothing of each other.
APART = {("methods", "backbones"), ("backbones", "methods")}


def modules():
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def imported(path):
    """The package's modules that a file imports, within functions too, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oekd_tf"):
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("oekd_tf."))


def layer(dotted):
    return dotted.split(".")[1]


def test_the_root_has_at_most_a_dozen_names():
    found = {p.stem for p in PACKAGE.iterdir() if not p.name.startswith(("_", "."))}
    found -= {"py"}  # py.typed
    assert found == set(LAYERS)
    assert len(found) <= 12


@pytest.mark.parametrize("name", LAYERS)
def test_imports_run_one_way(name):
    files = [PACKAGE / "testing.py"] if name == "testing" else (PACKAGE / name).rglob("*.py")
    for path in files:
        for dotted in imported(path):
            other = layer(dotted)
            if other not in LAYERS:
                continue
            where = f"{path.relative_to(PACKAGE)} imports {dotted}"
            assert LAYERS.index(other) >= LAYERS.index(name), where
            assert (name, other) not in APART, where


def test_no_circle():
    """No two modules import each other at their top, directly or by way of others."""
    names = {}
    for path in PACKAGE.rglob("*.py"):
        dotted = ".".join(("oekd_tf", *path.relative_to(PACKAGE).with_suffix("").parts))
        names[dotted.removesuffix(".__init__")] = path
    graph = {}
    for dotted, path in names.items():
        found = set()
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oekd_tf."):
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    found.add(full if full in names else node.module)
        graph[dotted] = found - {dotted}

    def reachable(start):
        seen, waiting = set(), [*graph[start]]
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                waiting += graph.get(one, ())
        return seen

    circles = [name for name in graph if name in reachable(name)]
    assert not circles, circles


PRIVATE = re.compile(
    r"\._(maybe_symbolic_build|symbolic_build|loss_tracker|get_variable_index|clip_gradients|"
    r"run_through_graph|inbound_nodes|keras_history|use_merge_call)\b|tensorflow\.python|keras\.src"
)


def test_private_names_of_keras_and_tensorflow_are_in_one_place():
    allowed = {"keras_internals.py", "tensorflow_internals.py"}
    for path in PACKAGE.rglob("*.py"):
        if path.name not in allowed:
            found = PRIVATE.search(path.read_text())
            assert not found, f"{path.relative_to(PACKAGE)}: {found[0]}"


@pytest.mark.parametrize("folder", ["methods", "cli", "export/formats"])
def test_what_is_one_file_each_is_listed_nowhere(folder):
    """Adding a method, a command or a format edits no other file of the package."""
    package = PACKAGE / folder
    names = [p.stem for p in package.glob("*.py") if p.stem != "__init__"]
    assert len(names) >= 4
    source = (package / "__init__.py").read_text()
    code = re.sub(r'""".*?"""', "", source, flags=re.DOTALL)
    listed = [name for name in names if re.search(rf"import .*\b{name}\b", code)]
    assert not listed, listed
