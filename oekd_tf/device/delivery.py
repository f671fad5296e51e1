"""Delivery of one exported file in a folder of its own, with labels and a model card."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oekd_tf.core.files import is_replaceable, replaced
from oekd_tf.core.records import Manifest, TensorFacts
from oekd_tf.device.contract import in_words
from oekd_tf.device.exported import ExportedFile, verified_path


def deliver(
    exports: str | Path,
    manifest: Manifest,
    file: ExportedFile,
    output: str | Path,
    limits: Mapping[str, float] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Copies a file out of an export, with `labels.txt`, `card.json` and `CARD.md`.

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
    output = Path(output)
    if output.exists() and not overwrite:
        raise ValueError(
            f"--output must be a folder that is not there yet, or --overwrite given. "
            f"Received: {output}, which exists"
        )
    source = verified_path(exports, file)
    if Path(exports).resolve().is_relative_to(output.resolve()):
        raise ValueError(f"--output must not be where the export is. Received: {output}")
    if output.exists() and not is_replaceable(output, "card.json"):
        raise ValueError(
            f"Only a folder that was picked, or is empty, can be replaced. Received: {output}"
        )
    content = card(exports, manifest, file, limits or {})
    with replaced(output, overwrite) as folder:
        if source.is_dir():
            shutil.copytree(source, folder / source.name)
        else:
            shutil.copy2(source, folder / source.name)
        (folder / "labels.txt").write_text(
            "".join(f"{n}\n" for n in manifest["class_names"]), encoding="utf-8"
        )
        (folder / "card.json").write_text(json.dumps(content, indent=2) + "\n")
        (folder / "CARD.md").write_text(card_text(content), encoding="utf-8")
    return content


def card(
    exports: str | Path,
    manifest: Manifest,
    file: ExportedFile,
    limits: Mapping[str, float],
) -> dict[str, Any]:
    """The model card of a file.

    Args:
        exports: Folder of the export.
        manifest: Manifest of the export.
        file: File that the card is about.
        limits: Limits that it was chosen under.

    Returns:
        `student` and `format` as in the manifest (`format.path` is below the card's folder),
        `devices` with the results of this file, `class_names`, `contract`, `limits` and `source`.
    """
    student = {name: value for name, value in file.student.items() if name != "formats"}
    devices = {
        name: {**device, "results": device["results"][file.key]}
        for name, device in manifest.get("devices", {}).items()
        if device["results"].get(file.key, {}).get("sha256") == file.facts["sha256"]
    }
    return {
        "student": student,
        "format": {"name": file.format, **file.facts, "path": Path(file.facts["path"]).name},
        "limits": dict(limits),
        "devices": devices,
        "class_names": manifest["class_names"],
        "contract": manifest.get("contract"),
        "source": {
            "exports": str(exports),
            "path": file.facts["path"],
            "checked_on_images": manifest.get("checked_on_images"),
            "calibration_images": manifest.get("calibration_images"),
            "made_by": manifest.get("made_by", {}),
        },
    }


def card_text(card: Mapping[str, Any]) -> str:
    """A model card as Markdown."""
    student, form, source = card["student"], card["format"], card["source"]
    lines = [
        f"# {student['name']}, {form['name']}",
        "",
        f"`{form['path']}`, {form['bytes']:,} bytes, SHA-256 `{form['sha256']}`.",
        "",
        f"- test accuracy {form['accuracy']:.2%} on {source['checked_on_images']:,} images "
        f"(the Keras student: {student['accuracy']:.2%}; same answer on {form['agreement']:.2%})",
        f"- {student['parameters']:,} trainable parameters, {student['flops'] / 1e6:.2f} MFLOPs "
        "an image",
        f"- {len(card['class_names'])} classes, by line in `labels.txt`",
    ]
    if card.get("contract"):
        lines += [f"- {line}" for line in in_words(card["contract"])]
    lines += [f"- {end}: {_tensor(form[end])}" for end in ("input", "output") if end in form]
    for name, device in card["devices"].items():
        for threads, times in device["results"]["threads"].items():
            lines.append(
                f"- {times['median_ms']:.3f} ms (median; p90 {times['p90_ms']:.3f} ms) on {name}, "
                f"{device['cpu']}, {threads} thread{'s'[: int(threads) > 1]}"
            )
    if card["limits"]:
        limits = ", ".join(f"{name} {value:g}" for name, value in card["limits"].items())
        lines.append(f"- chosen as the most accurate under {limits}")
    made_by = source["made_by"]
    lines += [
        "",
        f"From `{source['exports']}/{source['path']}`, exported {made_by.get('time', '')} by "
        f"oekd_tf {made_by.get('oekd_tf', '')}. All facts are in `card.json`.",
    ]
    return "\n".join(lines) + "\n"


def _tensor(facts: TensorFacts) -> str:
    shape = "×".join("any" if size < 0 else str(size) for size in facts["shape"])
    if not facts.get("scale"):
        return f"{facts['dtype']}, {shape}"
    offset = f"{-facts['zero_point']:+d}".replace("+", "+ ").replace("-", "− ")
    return f"{facts['dtype']}, {shape}, value = {facts['scale']:.6g} × (stored {offset})"
