"""What Arm's compiler Vela says of a file on an Ethos-U, an accelerator of microcontrollers.

Vela compiles; it does not run. Its cycles are an estimate. It also compiles a file of which nothing
runs on the accelerator, for the processor beside it to run alone; here that is an error. From one
run to the next its memory and cycles may differ by a thousandth or so.
"""

import csv
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from oekd_tf.core.records import NpuFacts, NpuResult

TARGETS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256",
    "ethos-u65-512", "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024",
    "ethos-u85-2048",
)  # fmt: skip
MISSING = "Vela, Arm's compiler, is not installed: pip install 'oekd-tf[mcu]'"
_PACKAGE = "ethosu"
_KIB = 1024


def is_installed() -> bool:
    """Whether Vela is installed."""
    return find_spec(_PACKAGE) is not None


def compile_for(
    content: bytes, target: str, system_config: str | None = None, memory_mode: str | None = None
) -> tuple[NpuFacts, NpuResult]:
    """Compiles a TFLite file for an Ethos-U.

    Args:
        content: Content of the file.
        target: One of `TARGETS`: the accelerator and its number of multiply-adds a cycle.
        system_config: Name of clock and bandwidths, of `vela --list-configs Arm/vela.ini`; Vela's
            own choice for the target if None.
        memory_mode: Name of what lies in which memory, of the same list; likewise.

    Returns:
        Facts of the target, and what Vela says of the file.

    Raises:
        ValueError: The target or a name is none, the file does not compile, or an operator would
            run on the processor instead.
        ImportError: Vela is not installed.

    Example:
        >>> facts, result = compile_for(path.read_bytes(), "ethos-u55-128")
        >>> result["sram_bytes"], result["inferences_per_s"]
    """
    if target not in TARGETS:
        raise ValueError(f"An NPU must be one of {', '.join(TARGETS)}. Received: {target!r}")
    if not is_installed():
        raise ImportError(MISSING)
    options = [f"--accelerator-config={target}"]
    options += [f"--system-config={system_config}"] if system_config else []
    options += [f"--memory-mode={memory_mode}"] if memory_mode else []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.tflite"
        model.write_bytes(content)
        done = subprocess.run(
            [sys.executable, "-m", "ethosu.vela", str(model), f"--output-dir={folder}", *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        tables = list(Path(folder).glob("*_summary_*.csv"))
        if done.returncode and "type=FLOAT32" in done.stderr:
            raise ValueError(
                "Every operator of a file must run on the NPU. Received: one that computes in "
                "float32 in part, which the NPU does not"
            )
        if done.returncode or len(tables) != 1:
            raise ValueError(f"Vela must be able to compile a file. Received: {_reason(done)}")
        return read_summary(done.stdout, tables[0])


def read_summary(said: str, table: Path) -> tuple[NpuFacts, NpuResult]:
    """Reads what Vela printed and wrote of a file.

    Args:
        said: What it printed.
        table: The CSV file that it wrote.

    Returns:
        As `compile_for`.

    Raises:
        ValueError: An operator would run on the processor.
    """
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    on_cpu, on_npu = (_operators(said, where) for where in ("CPU", "NPU"))
    if on_cpu or not on_npu:
        raise ValueError(
            "Every operator of a file must run on the NPU. Received: one with "
            f"{on_cpu} of {on_cpu + on_npu} on the processor{_first_cause(said)}"
        )
    facts: NpuFacts = {
        "compiler": f"ethos-u-vela {importlib.metadata.version('ethos-u-vela')}",
        "system_config": row["system_config"],
        "memory_mode": row["memory_mode"],
        "clock_hz": float(row["core_clock"]),
    }
    flash = float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"])
    result: NpuResult = {
        "sram_bytes": round(float(row["sram_memory_used"]) * _KIB),
        "dram_bytes": round(float(row["dram_memory_used"]) * _KIB),
        "flash_bytes": round(flash * _KIB),
        "cycles": int(float(row["cycles_total"])),
        "inferences_per_s": float(row["inferences_per_second"]),
        "operators": on_npu,
    }
    return facts, result


def _operators(said: str, where: str) -> int:
    found = re.search(rf"^{where} operators = (\d+) ", said, re.MULTILINE)
    if found is None:
        raise ValueError(f"Vela must say how many operators run on the {where}. Received: nothing")
    return int(found[1])


def _first_cause(said: str) -> str:
    found = re.search(r"operator: (\w+).*\n\s*-?\s*(?:Reason: )?(.*)", said)
    return f"; the first is {found[1]}: {found[2].partition(' (')[0].strip()}" if found else ""


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    last = lines[-1] if lines else f"exit code {done.returncode}"
    return re.sub(r"^[\w.]+Error: ", "", last).strip("'")
