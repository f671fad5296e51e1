"""Shows the section "Example:" of a docstring as code, which griffe does for "Examples:" only."""

import re
from typing import Any

from griffe import Extension, Object


class ExampleSections(Extension):
    """Renames the section before docstrings are parsed; mkdocs.yml names this file."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        del kwargs
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
