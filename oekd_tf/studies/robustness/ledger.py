"""Measurements that are done, one line each, so that a stopped command goes on behind them."""

import json
from collections.abc import Mapping
from pathlib import Path

from oekd_tf.core.files import write_text


class Ledger:
    """Scores by property and step, in a file that grows by a line.

    Args:
        path: The file. One of other measurements is begun anew.
        subject: Digest of what is measured, and on what.

    Attributes:
        done: Scores by network and measure, by (property, step).
        replaces: Whether there were other measurements, which are gone.
    """

    def __init__(self, path: Path, subject: str):
        self.path = path
        self.done: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
        self.replaces = False
        lines = path.read_text().splitlines() if path.exists() else []
        if not lines or _parsed(lines[0]) != {"subject": subject}:
            self.replaces = bool(lines)
            write_text(path, json.dumps({"subject": subject}) + "\n")
            return
        whole = []
        for line in lines:
            # The last one may be half of a line.
            if (found := _parsed(line)) is None:
                break
            whole.append(line)
            if "step" in found:
                self.done[found["property"], found["step"]] = found["scores"]
        write_text(path, "\n".join(whole) + "\n")

    def add(
        self, property_: str, step: str, scores: Mapping[str, Mapping[str, float]]
    ) -> dict[str, dict[str, float]]:
        """Writes a step's scores.

        Args:
            property_: Name of the property.
            step: Name of the step.
            scores: Scores by network and measure.

        Returns:
            The scores, as they are read again.
        """
        line = json.dumps({"property": property_, "step": step, "scores": scores})
        with self.path.open("a") as file:
            file.write(line + "\n")
        found = json.loads(line)["scores"]
        self.done[property_, step] = found
        return found


def _parsed(line: str) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
