"""Measures an export's files: latency here, or memory and time on an NPU by Vela.

    oekd bench --exports=savedmodels/demo --device=pi4 --threads=1,4

The results go into the export's manifest, which `oekd pick` chooses by, and with --output also
into a file of their own, to bring home from a device; there --merge=FILE takes it into the
manifest and measures nothing. Needs numpy, ai-edge-litert and msgspec only.

    oekd bench --exports=savedmodels/demo --npu=ethos-u55-128

compiles the files for an Arm Ethos-U with Vela instead (pip install 'oekd-tf[mcu]'): memory, and
cycles as Vela estimates them. A file of which a part would run on the processor is refused.
"""

import json
import os
import platform
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from oekd_tf.cli.parts import device_flags as command_line
from oekd_tf.core.files import write_text
from oekd_tf.core.records import DeviceResults, Manifest, NpuFacts, NpuFileResult
from oekd_tf.core.streams import say
from oekd_tf.core.tables import markdown_table
from oekd_tf.device.activation_memory import peak_activation_bytes
from oekd_tf.device.exported import exported_files, read_export, update_manifest, verified_path
from oekd_tf.device.latency import measure, thread_counts
from oekd_tf.device.measurements import device_facts, merge, read_results, result
from oekd_tf.device.npu import MISSING, TARGETS, compile_for, is_installed
from oekd_tf.device.npu_results import merge as merge_npu
from oekd_tf.device.npu_results import milliseconds
from oekd_tf.device.tflite_model import TfliteModel


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_line.Parser("bench", __doc__)
    parser.add_argument("--exports", required=True, help="an export's folder")
    parser.add_argument(
        "--threads", type=command_line.positive_integers,
        help="numbers of threads; 1, 2, 4 and so on up to the cores if not given",
    )  # fmt: skip
    parser.add_argument(
        "--device", type=command_line.device_name,
        help="what to call this machine; its host name if not given",
    )  # fmt: skip
    parser.add_argument("--formats", type=command_line.names, help="only these")
    parser.add_argument("--students", type=command_line.names, help="only these")
    parser.add_argument("--runs", type=command_line.positive_integer, default=50, help="of each")
    parser.add_argument("--output", help="a JSON file to write the results to as well")
    parser.add_argument("--npu", help=f"compile for it with Vela: {', '.join(TARGETS)}")
    parser.add_argument("--system_config", help="of --npu: clock and bandwidths, by Vela's name")
    parser.add_argument("--memory_mode", help="of --npu: what lies where, by Vela's name")
    parser.add_argument("--merge", help="such a file, to take into the manifest; measures nothing")
    command_line.run(parser, _bench, argv)


def _bench(flags: Namespace) -> None:
    if flags.npu:
        _compile(flags)
        return
    for name in ("system_config", "memory_mode"):
        if given := getattr(flags, name):
            raise ValueError(f"--{name} must be left out without --npu. Received: {given}")
    if flags.merge:
        devices = read_results(flags.merge)
    else:
        _refuse_output(flags.output, flags.exports)
        devices = {flags.device or platform.node() or "device": _measured(flags)}
        if flags.output:
            write_text(flags.output, json.dumps({"devices": devices}, indent=2) + "\n")
    manifest = update_manifest(flags.exports, lambda manifest: merge(manifest, devices))
    for name, device in devices.items():
        print(f"\n{name}: {device['cpu']}, LiteRT {device['litert']}, {device['time']}\n")
        print(markdown_table(_rows(device)))
    _draw(manifest, Path(flags.exports))


def _compile(flags: Namespace) -> None:
    for name in ("merge", "output", "device", "threads"):
        if given := getattr(flags, name):
            raise ValueError(f"--{name} must be left out with --npu. Received: {given}")
    if flags.npu not in TARGETS:
        raise ValueError(f"--npu must be one of {', '.join(TARGETS)}. Received: {flags.npu}")
    if not is_installed():
        raise ValueError(MISSING)
    files = [
        file
        for file in exported_files(read_export(flags.exports), flags.students, flags.formats)
        if file.is_tflite and (flags.formats or file.is_of_integers)
    ]
    if not files:
        raise ValueError("--formats must name a TFLite format of the export. Received: none")
    facts: NpuFacts | None = None
    results: dict[str, NpuFileResult] = {}
    refused = []
    for number, file in enumerate(files, 1):
        say(f"file {number} of {len(files)}: {file.key}")
        content = verified_path(flags.exports, file).read_bytes()
        try:
            facts, found = compile_for(content, flags.npu, flags.system_config, flags.memory_mode)
        except ValueError as error:
            refused.append(f"{file.key}: {error}")
            continue
        results[file.key] = {**found, "sha256": file.facts["sha256"]}
    if facts is not None:
        there = facts
        manifest = update_manifest(
            flags.exports, lambda manifest: merge_npu(manifest, flags.npu, there, results)
        )
        print(
            f"\n{flags.npu}: {facts['system_config']}, {facts['memory_mode']}, "
            f"{facts['clock_hz'] / 1e6:g} MHz, {facts['compiler']}\n"
        )
        print(markdown_table([_npu_row(key, found) for key, found in results.items()]))
        _draw(manifest, Path(flags.exports))
    if refused:
        raise ValueError(
            f"{len(refused)} of {len(files)} files are not for {flags.npu}: " + "; ".join(refused)
        )


def _npu_row(key: str, found: NpuFileResult) -> dict[str, str]:
    return {
        "file": key,
        "SRAM KiB": f"{found['sram_bytes'] / 1024:.2f}",
        "DRAM KiB": f"{found['dram_bytes'] / 1024:.2f}",
        "flash KiB": f"{found['flash_bytes'] / 1024:.2f}",
        "cycles": f"{found['cycles']:,}",
        "inferences/s": f"{found['inferences_per_s']:,.1f}",
        "ms": f"{milliseconds(found):.4f}",
        "operators": str(found["operators"]),
    }


def _refuse_output(output: str | None, exports: str) -> None:
    """Raises before anything is measured if the results could not be written, or over what."""
    if output is None:
        if not os.access(exports, os.W_OK):
            raise ValueError(
                "--exports must be a folder that can be written, or --output a file for the "
                f"results. Received: {exports}"
            )
        return
    try:
        read_results(output)
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        raise ValueError(
            "--output must be a new file, or one of an earlier bench. "
            f"Received: {output}, which is of something else"
        ) from None


def _measured(flags: Namespace) -> DeviceResults:
    manifest = read_export(flags.exports)
    files = {
        file.key: file
        for file in exported_files(manifest, flags.students, flags.formats)
        if file.is_tflite
    }
    if not files:
        raise ValueError("--formats must name a TFLite format of the export. Received: none")
    paths = {key: verified_path(flags.exports, file) for key, file in files.items()}
    results = {}
    latencies = measure(paths, flags.threads or thread_counts(), flags.runs)
    for key, path in paths.items():
        model = TfliteModel(path)
        _refuse_other_input(manifest, key, model.image_shape)
        batch_size = model.batch_size or 1
        peak = peak_activation_bytes(path.read_bytes())
        results[key] = result(files[key], peak, batch_size, latencies[key])
    return {**device_facts(), "results": results}


def _refuse_other_input(manifest: Manifest, key: str, shape: Sequence[int]) -> None:
    contract = manifest.get("contract")
    if contract is not None and list(contract["image_shape"]) != list(shape):
        raise ValueError(
            f"{key} must take the images that the manifest says, {contract['image_shape']}. "
            f"Received: a file for {list(shape)}"
        )


def _rows(device: DeviceResults) -> list[dict[str, str]]:
    counts = {count: None for found in device["results"].values() for count in found["threads"]}
    rows = []
    for key, found in device["results"].items():
        row = {
            "file": key,
            "kB": f"{found['bytes'] / 1e3:.1f}",
            "activations kB": f"{found['peak_activation_bytes'] / 1e3:.1f}",
        }
        for count in sorted(counts, key=int):
            times, suffix = found["threads"].get(count), f" ({count} thread{'s'[: int(count) > 1]})"
            row[f"median ms{suffix}"] = f"{times['median_ms']:.3f}" if times else ""
            row[f"p90 ms{suffix}"] = f"{times['p90_ms']:.3f}" if times else ""
        rows.append(row)
    return rows


def _draw(manifest: Manifest, exports: Path) -> None:
    if find_spec("matplotlib") is None:
        return
    from oekd_tf.device.pareto import draw_trade_off

    picture = exports / "trade_off.png"
    draw_trade_off(manifest, picture)
    print(f"\npicture: {picture}")


if __name__ == "__main__":
    main()
