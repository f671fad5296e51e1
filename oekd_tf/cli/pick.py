"""Picks the most accurate file of an export under a device's limits.

    oekd pick --exports=savedmodels/demo --max_bytes=64KiB --max_latency_ms=2

Without --output it goes to savedmodels/demo_picked: the file, labels.txt, card.json and CARD.md.
If nothing fits, the nearest is named and the exit code is 1. Latencies are those that
`oekd bench` has measured. Needs numpy, ai-edge-litert and msgspec only.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from oekd_tf.cli.parts import device_flags as command_line
from oekd_tf.core.files import as_output
from oekd_tf.core.records import Manifest
from oekd_tf.core.streams import complain
from oekd_tf.device.activation_memory import peak_activation_bytes
from oekd_tf.device.delivery import deliver
from oekd_tf.device.exported import exported_files, read_export, verified_path
from oekd_tf.device.measurements import choose_device, median_ms
from oekd_tf.device.npu_results import milliseconds, npu_result
from oekd_tf.device.selection import Candidate, best, misses, nearest


def main(argv: Sequence[str] | None = None) -> None:
    parser = command_line.Parser("pick", __doc__)
    parser.add_argument("--exports", required=True, help="an export's folder")
    parser.add_argument(
        "--max_bytes", type=command_line.byte_count, help="of the file: 100000, 100kB, 64KiB"
    )
    parser.add_argument(
        "--max_latency_ms", type=command_line.positive_number, help="median, milliseconds"
    )
    parser.add_argument(
        "--max_activation_bytes", type=command_line.byte_count,
        help="of activations at their peak; kernels' scratch memory comes on top",
    )  # fmt: skip
    parser.add_argument(
        "--max_arena", type=command_line.byte_count,
        help="memory of TensorFlow Lite Micro, as an export with export.micro_images measured it",
    )  # fmt: skip
    parser.add_argument(
        "--npu", help="whose memory and estimated latency, as oekd bench --npu got them of Vela"
    )
    parser.add_argument("--max_sram", type=command_line.byte_count, help="of the NPU")
    parser.add_argument("--min_accuracy", type=command_line.share, help="0.8 or 80%%")
    parser.add_argument("--device", help="whose latencies; needed if several were measured")
    parser.add_argument("--threads", type=command_line.positive_integer, default=1)
    parser.add_argument("--formats", type=command_line.names, help="only these")
    parser.add_argument("--students", type=command_line.names, help="only these")
    parser.add_argument("--output", help="folder to make; EXPORTS_picked if not given")
    parser.add_argument("--overwrite", action="store_true", help="replace --output if there")
    command_line.run(parser, _pick, argv)


def _pick(flags: Namespace) -> None:
    limits = {
        name: value
        for name in (
            "max_bytes",
            "max_latency_ms",
            "max_activation_bytes",
            "max_arena",
            "max_sram",
            "min_accuracy",
        )
        if (value := getattr(flags, name))
    }
    manifest = read_export(flags.exports)
    device = None
    if flags.npu or flags.max_sram:
        device = _npu(flags, manifest)
    elif flags.max_latency_ms or flags.device:
        device = choose_device(manifest, flags.device)
    candidates = _candidates(flags, manifest, device, limits)
    found = best(candidates, limits)
    if found is None:
        other = nearest(candidates, limits)
        missed = " and ".join(map(str, misses(other, limits)))
        raise SystemExit(
            f"No file fits the limits. The nearest is {other.file.key}, {_facts(other, device)}; "
            f"it misses {missed}"
        )
    exports = Path(flags.exports)
    output = as_output(flags.output or exports.with_name(f"{exports.resolve().name}_picked"))
    deliver(exports, manifest, found.file, output, limits, flags.overwrite)
    print(f"{found.file.key}: {_facts(found, device)}")
    print(f"copied: {output / Path(found.file.facts['path']).name}")


def _npu(flags: Namespace, manifest: Manifest) -> str:
    there = ", ".join(manifest.get("npus", {})) or "none"
    if flags.npu not in manifest.get("npus", {}):
        raise ValueError(
            f"--npu must be one that oekd bench --npu compiled for, of {there}. "
            f"Received: {flags.npu or 'none, with --max_sram'}"
        )
    if flags.device:
        raise ValueError(f"--device must be left out with --npu. Received: {flags.device}")
    return str(flags.npu)


def _candidates(
    flags: Namespace, manifest: Manifest, device: str | None, limits: dict[str, float]
) -> list[Candidate]:
    candidates, seen = [], 0
    for file in exported_files(manifest, flags.students, flags.formats):
        if not (Path(flags.exports) / file.facts["path"]).exists():
            complain(f"{file.key} is not there any more, and left out")
            continue
        seen += 1
        # A size that only the manifest says is no fact.
        path = verified_path(flags.exports, file)
        values = {"max_bytes": file.facts["bytes"], "min_accuracy": file.facts["accuracy"]}
        if flags.npu:
            if (found := npu_result(manifest, file, flags.npu)) is None:
                continue
            values["max_latency_ms"], values["max_sram"] = milliseconds(found), found["sram_bytes"]
        elif (latency := median_ms(manifest, file, device, flags.threads)) is not None:
            values["max_latency_ms"] = latency
        if "max_activation_bytes" in limits and file.is_tflite:
            values["max_activation_bytes"] = peak_activation_bytes(path.read_bytes())
        if (arena := file.facts.get("micro", {}).get("arena_bytes")) is not None:
            values["max_arena"] = arena
        if values.keys() >= limits.keys():
            candidates.append(Candidate(file, values))
    if not seen:
        raise ValueError(f"The export must hold its files. Received: {flags.exports}, without any")
    if not candidates and flags.npu:
        raise ValueError(
            f"No file that the other flags leave was compiled for {flags.npu}. Run: "
            f"oekd bench --exports={flags.exports} --npu={flags.npu} (it says which cannot be)"
        )
    if not candidates and "max_latency_ms" in limits:
        raise ValueError(
            f"No latency of these files was measured on {device} with {flags.threads} "
            f"thread{'s'[: flags.threads > 1]}. Run: oekd bench --exports={flags.exports} "
            f"--device={device} --threads={flags.threads}"
        )
    if not candidates and "max_arena" in limits:
        raise ValueError(
            "--max_arena applies to files that TensorFlow Lite Micro ran; this export has none to "
            "choose among. Export with: --set=export.micro_images=1000"
        )
    if not candidates:
        raise ValueError(
            "--max_activation_bytes applies to TFLite files; this export has none to choose among."
        )
    return candidates


def _facts(candidate: Candidate, device: str | None) -> str:
    values = candidate.values
    facts = [f"test accuracy {values['min_accuracy']:.2%}", f"{values['max_bytes']:,} bytes"]
    if "max_latency_ms" in values:
        facts.append(f"{values['max_latency_ms']:.3f} ms on {device}")
    if "max_activation_bytes" in values:
        facts.append(f"{values['max_activation_bytes']:,} bytes of activations")
    if "max_sram" in values:
        facts.append(f"{values['max_sram']:,} bytes of SRAM")
    if "max_arena" in values:
        facts.append(f"{values['max_arena']:,} bytes of arena")
    return ", ".join(facts)


if __name__ == "__main__":
    main()
