"""What Vela says of an export's files, in its manifest under "npus".

For each target by name: `compiler`, `system_config`, `memory_mode`, `clock_hz`, `time`, and
`results`: for each file ("student_1/int8") what `oekd_tf.core.records.NpuFileResult` says.
"""

from collections.abc import Mapping

from oekd_tf.core.machine import utc_time
from oekd_tf.core.records import Manifest, NpuFacts, NpuFileResult
from oekd_tf.device.exported import ExportedFile


def merge(
    manifest: Manifest, target: str, facts: NpuFacts, results: Mapping[str, NpuFileResult]
) -> None:
    """Merges results into a manifest.

    The target's results of other files stay, if they were made under the same facts.

    Args:
        manifest: Manifest, which is changed in place.
        target: Name of the target.
        facts: Facts of the target.
        results: Results by file.
    """
    known = manifest.setdefault("npus", {})
    old = known.get(target)
    same = old is not None and all(old.get(name) == value for name, value in facts.items())
    known[target] = {
        **facts,
        "time": utc_time(),
        "results": {**(old["results"] if old and same else {}), **results},
    }


def npu_result(manifest: Manifest, file: ExportedFile, target: str) -> NpuFileResult | None:
    """What Vela said of a file for a target.

    Args:
        manifest: Manifest of the export.
        file: File of the export.
        target: Name of the target.

    Returns:
        The result; None where this file, by its SHA-256, was not compiled for it.
    """
    known = manifest.get("npus", {}).get(target)
    found = known["results"].get(file.key) if known else None
    return found if found is not None and found["sha256"] == file.facts["sha256"] else None


def milliseconds(result: NpuFileResult) -> float:
    """Estimated time of an inference in milliseconds.

    Args:
        result: Result of a file.
    """
    return 1e3 / result["inferences_per_s"]
