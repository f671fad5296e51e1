"""Measurements on devices, in a manifest under "devices".

For each device by name: `cpu`, `platform`, `litert` (version), `time`, and `results`, which for
each file ("student_1/int8") has `bytes`, `sha256`, `peak_activation_bytes` (see
`activation_memory`), `batch_size`, and `threads`: by number of threads `median_ms`, `p90_ms` and
`runs`.
"""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

from oekd_tf.core.json_files import read_json
from oekd_tf.core.machine import processor, utc_time
from oekd_tf.core.records import DeviceFacts, DeviceResults, FileResult, Manifest, Measurements
from oekd_tf.core.text import printable
from oekd_tf.device.exported import ExportedFile, exported_files
from oekd_tf.device.latency import Latency


def device_facts() -> DeviceFacts:
    """Processor, platform, LiteRT's version and the time."""
    try:
        litert = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError:
        litert = "unknown"
    return {
        "cpu": processor(),
        "platform": platform.platform(),
        "litert": litert,
        "time": utc_time(),
    }


def result(
    file: ExportedFile,
    peak_activation_bytes: int,
    batch_size: int,
    latencies: Mapping[int, Latency],
) -> FileResult:
    """Results of a file, as the manifest has them."""
    return {
        "bytes": file.facts["bytes"],
        "sha256": file.facts["sha256"],
        "peak_activation_bytes": peak_activation_bytes,
        "batch_size": batch_size,
        "threads": {
            str(count): {"median_ms": one.median_ms, "p90_ms": one.p90_ms, "runs": one.runs}
            for count, one in latencies.items()
        },
    }


def merge(manifest: Manifest, devices: Mapping[str, DeviceResults]) -> None:
    """Merges measurements into a manifest.

    Other devices stay, and so do the device's results of other files and numbers of threads.

    Args:
        manifest: Manifest, which is changed in place.
        devices: Measurements by name of the device, as described at the top of this module.

    Raises:
        ValueError: A result is of a file that is not in the manifest, or has another SHA-256.
    """
    files = {file.key: file for file in exported_files(manifest)}
    for name, device in devices.items():
        for key, found in device["results"].items():
            if key not in files:
                raise ValueError(
                    f"Results must be of files of the export. Received: {printable(key)} "
                    f"on {name}, which it does not hold"
                )
            expected = files[key].facts["sha256"]
            size = files[key].facts["bytes"]
            if found["bytes"] != size:
                raise ValueError(
                    f"Results must be of the files of the export: {key} has {size:,} bytes. "
                    f"Received: {found['bytes']:,} on {name}"
                )
            if found["sha256"] != expected:
                raise ValueError(
                    f"Results must be of the files of the export: {key} has SHA-256 "
                    f"{expected}. Received: {found['sha256']} on {name}"
                )
    for name, device in devices.items():
        known = manifest.setdefault("devices", {})
        results = known[name]["results"] if name in known else {}
        for key, found in device["results"].items():
            old = results.get(key)
            same = old is not None and old["sha256"] == found["sha256"]
            threads = {**(old["threads"] if old and same else {}), **found["threads"]}
            ordered = dict(sorted(threads.items(), key=lambda item: int(item[0])))
            results[key] = {**found, "threads": ordered}
        known[name] = {**device, "results": results}


def read_results(path: str | Path) -> dict[str, DeviceResults]:
    """Reads a file that `oekd bench --output` wrote.

    Args:
        path: Path of the file.

    Returns:
        Measurements by name of the device.

    Raises:
        ValueError: The file is not one of these.
        FileNotFoundError: There is no such file.
    """
    return read_json(path, Measurements, "what oekd bench --output wrote", check=_check)["devices"]


def _check(found: Measurements) -> None:
    for name, device in found["devices"].items():
        if not device["results"]:
            raise ValueError(f"no results of {printable(name)}")


def median_ms(
    manifest: Manifest, file: ExportedFile, device: str | None, threads: int
) -> float | None:
    """Median latency of a file on a device.

    Args:
        manifest: Manifest of the export.
        file: File of the export.
        device: Name of the device.
        threads: Number of threads.

    Returns:
        The latency in milliseconds; None where this file, by its SHA-256, was not measured.
    """
    devices = manifest.get("devices", {})
    if device is None or device not in devices:
        return None
    found = devices[device]["results"].get(file.key)
    if found is None or found["sha256"] != file.facts["sha256"]:
        return None
    times = found["threads"].get(str(threads))
    return times["median_ms"] if times else None


def choose_device(manifest: Manifest, name: str | None) -> str:
    """The device to take latencies from: the named one, or the only one.

    Args:
        manifest: Manifest of the export.
        name: Name of the device; None for the only one.

    Returns:
        Name of the device.

    Raises:
        ValueError: No device was measured, the named one was not, or there are several.
    """
    there = list(manifest.get("devices", {}))
    if not there:
        raise ValueError("No latency was measured of this export. Run oekd bench first")
    if name is None and len(there) == 1:
        return there[0]
    if name is None or name not in there:
        raise ValueError(
            f"--device must be one that was measured, of {', '.join(there)}. "
            f"Received: {name or 'none'}"
        )
    return name
