"""The model card of a delivered file: facts for programs, and words for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from oekd_tf.core.contract import check_contract
from oekd_tf.core.json_files import read_json
from oekd_tf.core.records import (
    Card,
    CardDevice,
    CardFormat,
    CardNpu,
    Contract,
    Manifest,
    MicroFacts,
    StudentFacts,
    TensorFacts,
)
from oekd_tf.core.text import in_code, in_markdown
from oekd_tf.device.exported import ExportedFile
from oekd_tf.device.manifest import LABELS, find_change, golden_paths, is_inside
from oekd_tf.device.npu_results import milliseconds, npu_result
from oekd_tf.device.rescue import rescue_in_words

FILE_NAME = "card.json"
TEXT = "CARD.md"


def read_card(folder: str | Path) -> Card:
    """Reads the card of a delivered file.

    Args:
        folder: Folder that `oekd pick` has made.

    Returns:
        Content of `card.json`; `oekd_tf.core.records.Card` says what the fields are.

    Raises:
        FileNotFoundError: There is no card.
        ValueError: A field is not what it must be.

    Example:
        >>> read_card("savedmodels/demo_picked")["format"]
    """
    path = Path(folder) / FILE_NAME
    return read_json(path, Card, "a picked file's card", check=_check)


def known_files(folder: Path) -> set[str] | None:
    """Names of what a delivery holds; None if the folder is no delivery."""
    try:
        card = read_card(folder)
    except (OSError, ValueError):
        return None
    known = {FILE_NAME, TEXT, LABELS} | golden_paths(folder, card.get("selftest"))
    # A file that was changed since is someone's work.
    return known if find_change(folder, card["format"]) else {*known, card["format"]["path"]}


def _check(card: Card) -> None:
    if not is_inside(card["format"]["path"]):
        raise ValueError("format.path must be below the card's folder, and is not")
    selftest = card.get("selftest")
    if selftest is not None and not is_inside(selftest["path"]):
        raise ValueError("selftest.path must be below the card's folder, and is not")
    contract = card.get("contract")
    if contract is not None:
        check_contract(contract)


def card(
    exports: str | Path,
    manifest: Manifest,
    file: ExportedFile,
    limits: Mapping[str, float],
) -> Card:
    """The model card of a file.

    Args:
        exports: Folder of the export.
        manifest: Manifest of the export.
        file: File that the card is about.
        limits: Limits that it was chosen under.

    Returns:
        `student` and `format` as in the manifest (`format.path` is below the card's folder),
        `devices` and `npus` with the results of this file, `class_names`, `contract`, `limits` and
        `source`.
    """
    devices: dict[str, CardDevice] = {}
    for name, device in manifest.get("devices", {}).items():
        found = device["results"].get(file.key)
        if found and found["sha256"] == file.facts["sha256"]:
            devices[name] = {**device, "results": found}
    npus: dict[str, CardNpu] = {}
    for name, target in manifest.get("npus", {}).items():
        if (result := npu_result(manifest, file, name)) is not None:
            npus[name] = {**target, "results": result}
    facts = {**file.facts, "name": file.format, "path": Path(file.facts["path"]).name}
    student = {name: value for name, value in file.student.items() if name != "formats"}
    return {
        "student": cast(StudentFacts, student),
        "format": cast(CardFormat, facts),
        "limits": dict(limits),
        "devices": devices,
        "npus": npus,
        "class_names": manifest["class_names"],
        "contract": manifest.get("contract"),
        "source": {
            "exports": str(exports),
            "path": file.facts["path"],
            "checked_on_images": manifest["checked_on_images"],
            "calibration_images": manifest["calibration_images"],
            "made_by": manifest["made_by"],
        },
    }


def card_text(card: Card) -> str:
    """A model card as Markdown."""
    student, form, source = card["student"], card["format"], card["source"]
    lines = [
        f"# {in_markdown(student['name'])}, {form['name']}",
        "",
        f"{in_code(form['path'])}, {form['bytes']:,} bytes, SHA-256 `{form['sha256']}`.",
        "",
        f"- test accuracy {form['accuracy']:.2%} on {source['checked_on_images']:,} images "
        f"(the Keras student: {student['accuracy']:.2%}; same answer on {form['agreement']:.2%})",
        f"- {student['parameters']:,} trainable parameters, {student['flops'] / 1e6:.2f} MFLOPs "
        "an image",
        f"- {len(card['class_names'])} classes, by line in `labels.txt`",
    ]
    contract = card.get("contract")
    if contract is not None:
        lines += [f"- {line}" for line in in_words(contract)]
    if "input" in form:
        lines.append(f"- input: {_tensor(form['input'])}")
    if "output" in form:
        lines.append(f"- output: {_tensor(form['output'])}")
    if form["path"].endswith(".tflite") and "input" in form:
        lines.append(f"- {_inside(form['input'])}")
    if "rescue" in form:
        lines.append(f"- {in_markdown(rescue_in_words(form['rescue']))}")
    if "micro" in form:
        lines.append(f"- {_micro(form['micro'])}")
    for name, device in card["devices"].items():
        for threads, times in device["results"]["threads"].items():
            lines.append(
                f"- {times['median_ms']:.3f} ms (median; p90 {times['p90_ms']:.3f} ms) on "
                f"{in_markdown(name)}, {in_markdown(device['cpu'])}, {threads} "
                f"thread{'s'[: int(threads) > 1]}"
            )
    for name, target in card.get("npus", {}).items():
        result = target["results"]
        lines.append(
            f"- {milliseconds(result):.4f} ms and {result['sram_bytes']:,} bytes of SRAM on "
            f"{in_markdown(name)}, as {in_markdown(target['compiler'])} estimates"
        )
    if card["limits"]:
        limits = ", ".join(
            f"{in_markdown(name)} {value:g}" for name, value in card["limits"].items()
        )
        lines.append(f"- chosen as the most accurate under {limits}")
    made_by = source["made_by"]
    lines += [
        "",
        f"From {in_code(source['exports'] + '/' + source['path'])}, exported "
        f"{in_markdown(made_by.get('time', ''))} by oekd_tf "
        f"{in_markdown(made_by.get('oekd_tf', ''))}. All facts are in `card.json`.",
    ]
    return "\n".join(lines) + "\n"


def _inside(taken: TensorFacts) -> str:
    """What the metadata of a TFLite file are good for; MediaPipe reads them, but not all files."""
    reasons = []
    if taken["shape"][-1] != 3:
        reasons.append("grey images" if taken["shape"][-1] == 1 else "images that are not RGB")
    if taken["dtype"] not in ("uint8", "float32"):
        reasons.append(f"{taken['dtype']} input")
    said = "labels and preprocessing are inside (TFLite metadata); MediaPipe's ImageClassifier "
    return said + (f"does not take it: {', '.join(reasons)}" if reasons else "takes it")


def _micro(facts: MicroFacts) -> str:
    where = f"on a microcontroller ({in_markdown(facts['runtime'])})"
    if "unfit" in facts:
        return f"does not run {where}: {in_markdown(facts['unfit'])}"
    return (
        f"{where} it needs an arena of {facts['arena_bytes']:,} bytes; its accuracy there is "
        f"{facts['accuracy']:.2%} on {facts['images']:,} test images, with LiteRT's answer on "
        f"{facts['agreement']:.2%}"
    )


def _tensor(facts: TensorFacts) -> str:
    shape = "×".join("any" if size < 0 else str(size) for size in facts["shape"])
    kind = in_markdown(facts["dtype"])
    if not facts.get("scale"):
        return f"{kind}, {shape}"
    offset = f"{-facts.get('zero_point', 0):+d}".replace("+", "+ ").replace("-", "− ")
    return f"{kind}, {shape}, value = {facts['scale']:.6g} × (stored {offset})"


def in_words(contract: Contract) -> list[str]:
    """The contract for people, one fact a line."""
    height, width, channels = contract["image_shape"]
    colour = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    preparation = contract["preparation"]
    if preparation is None:
        how = "how a picture became one in training is not known"
    elif preparation["crop"] is None:
        how = "a picture is turned upright (EXIF) and the whole of it resized"
    else:
        how = (
            f"a picture of another size is turned upright (EXIF), {preparation['crop']:.1%} of its "
            "largest center crop of this shape is taken and resized"
        )
    resized = " (bilinear, antialiased)" if preparation is not None else ""
    lines = [f"an input is {height}×{width}, {colour}, raw pixels from 0 to 255: {how}{resized}"]
    splits = contract["splits"]
    if contract["data"] and splits:
        sizes = ", ".join(f"{facts['examples']:,} {name}" for name, facts in splits.items())
        lines.append(f"trained on {in_markdown(contract['data'])}: {sizes} images")
    else:
        lines.append("what it was trained on is not known")
    return lines
