"""Delivery of one exported file in a folder of its own, with labels and a model card."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from oekd_tf.core.files import alone, as_output, foreign_content, replaced
from oekd_tf.core.records import Card, Manifest
from oekd_tf.core.text import as_lines
from oekd_tf.device import card as cards
from oekd_tf.device.exported import ExportedFile, verified_path
from oekd_tf.device.golden import copy_golden
from oekd_tf.device.manifest import LABELS, file_facts


def deliver(
    exports: str | Path,
    manifest: Manifest,
    file: ExportedFile,
    output: str | Path,
    limits: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> Card:
    """Copies a file out of an export, with labels, golden vectors, `card.json` and `CARD.md`.

    Args:
        exports: Folder of the export.
        manifest: Manifest of the export.
        file: File to copy; its SHA-256 is verified first.
        output: Folder to make, atomically.
        limits: Limits that it was chosen under, for the card.
        overwrite: Whether to replace `output` if it exists.

    Returns:
        Content of the card.

    Raises:
        ValueError: The file is not what was exported, or `output` exists.
        OSError: The folder cannot be written; an existing one stays as it is.

    Example:
        >>> deliver("savedmodels/demo", manifest, file, "savedmodels/demo_picked")
    """
    output = as_output(output)
    if output.exists() and not overwrite:
        raise ValueError(
            f"--output must be a folder that is not there yet, or --overwrite given. "
            f"Received: {output}, which exists"
        )
    source = verified_path(exports, file)
    if Path(exports).resolve().is_relative_to(output.resolve()):
        raise ValueError(f"--output must not be where the export is. Received: {output}")
    if output.exists() and (found := foreign_content(output, cards.known_files)):
        raise ValueError(
            "Only a folder that was picked and holds nothing else, or is empty, can be replaced. "
            f"Received: {output}, {found}"
        )
    content = cards.card(exports, manifest, file, limits or {})
    with alone(output), replaced(output, overwrite, cards.known_files) as folder:
        copy = folder / source.name
        if source.is_dir():
            shutil.copytree(source, copy, symlinks=True)
        else:
            shutil.copy2(source, copy, follow_symlinks=False)
        # What is delivered is what was hashed, whatever happened to the source meanwhile.
        if file_facts(copy, folder)["sha256"] != file.facts["sha256"]:
            raise ValueError(
                f"{source} must not change while it is copied. Received: other content"
            )
        if (selftest := manifest.get("selftest")) is not None:
            content["selftest"] = copy_golden(exports, selftest, file, folder)
        (folder / LABELS).write_text(as_lines(manifest["class_names"]), encoding="utf-8")
        (folder / cards.FILE_NAME).write_text(json.dumps(content, indent=2) + "\n")
        (folder / cards.TEXT).write_text(cards.card_text(content), encoding="utf-8")
    return content
