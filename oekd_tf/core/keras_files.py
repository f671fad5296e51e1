"""Reading of models that users bring as `.keras` files or as folders of runs."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

# What a finished run leaves, an ensemble or a student alone.
RUN_FILES = ("ensemble.keras", "student.keras")
# Where a run of student 1 alone is below its workdir.
_ALONE = "baseline_student_1"


def find_model(path: str | Path, rule: str) -> Path:
    """The file of a model.

    Args:
        path: A `.keras` file, or the folder of a finished run.
        rule: What the argument must be, a sentence, for the error.

    Returns:
        The file.

    Raises:
        ValueError: There is none, or it is of another kind.
    """
    path = Path(path).expanduser()
    names = (*RUN_FILES, f"{_ALONE}/{RUN_FILES[1]}")
    candidates = [path, *(path / name for name in names)]
    found = next((file for file in candidates if file.is_file()), None)
    if found is None:
        what = "which is a folder without a finished run" if path.is_dir() else "which is not there"
        raise ValueError(f"{rule} Received: {str(path)!r}, {what}")
    # Keras would unpickle nothing, but its errors of other files do not say what is wrong.
    if found.suffix != ".keras" or not zipfile.is_zipfile(found):
        raise ValueError(f"{rule} Received: {str(path)!r}, which is no file that Keras has saved")
    return found


def load_model(path: str | Path, rule: str) -> keras.Model:
    """Loads a model, without its optimizer and losses.

    Args:
        path: A `.keras` file, or the folder of a finished run.
        rule: What the argument must be, a sentence, for the error.

    Returns:
        The model. Code in the file is not run: Lambda layers are refused.

    Raises:
        ValueError: There is no such file, or it cannot be loaded.
    """
    found = find_model(path, rule)
    try:
        return keras.saving.load_model(found, compile=False)
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        if "Lambda" in reason and (names := _lambdas(found)):
            reason = f"its layer {names[0]!r} is a Lambda, code that is not run from a file"
        raise ValueError(
            f"{rule} Received: {str(path)!r}, which cannot be loaded: {reason[:300]}"
        ) from None


def _lambdas(path: Path) -> list[str]:
    """Names of the Lambda layers in a `.keras` file."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read("config.json").decode("utf-8", "replace")
    found: list[str] = []

    def note(entry: dict[str, Any]) -> dict[str, Any]:
        if entry.get("class_name") == "Lambda":
            found.append(str(entry.get("config", {}).get("name")))
        return entry

    json.loads(text, object_hook=note)
    return found


def student_of(model: Any, rule: str) -> keras.Model:
    """The network that a model delivers: of an ensemble student 1.

    Args:
        model: A functional or sequential model, or an `OnlineEnsemble`.
        rule: What the argument must be, a sentence, for the error.

    Returns:
        The model, or student 1, with its averages, if these are what the ensemble delivers.

    Raises:
        ValueError: It is of another kind.
    """
    if hasattr(model, "exported_models"):
        named = {student.name: student for student in model.exported_models()}
        return named.get("student_1", model.students[0])
    if not (isinstance(model, keras.Model) and getattr(model, "inputs", None)):
        raise ValueError(f"{rule} Received: {model!r}")
    return model
