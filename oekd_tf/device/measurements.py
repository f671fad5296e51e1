"""Measurements on devices, in a manifest under "devices".

For each device by name: `cpu`, `platform`, `litert` (version), `time`, and `results`, which for
each file ("student_1/int8") has `bytes`, `sha256`, `peak_activation_bytes` (see
`activation_memory`), `batch_size`, and `threads`: by number of threads `median_ms`, `p90_ms` and
`runs`.
"""

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oekd_tf.core.machine import processor
from oekd_tf.core.records import Manifest
from oekd_tf.device.exported import ExportedFile, exported_files
from oekd_tf.device.latency import Latency


def device_facts() -> dict[str, Any]:
    """Processor, platform, LiteRT's version and the time."""
    try:
        litert = importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError:
        litert = "unknown"
    return {
        "cpu": processor(),
        "platform": platform.platform(),
        "litert": litert,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def result(
    file: ExportedFile,
    peak_activation_bytes: int,
    batch_size: int,
    latencies: Mapping[int, Latency],
) -> dict[str, Any]:
    """Results of a file, as the manifest has them."""
    return {
        "bytes": file.facts["bytes"],
        "sha256": file.facts["sha256"],
        "peak_activation_bytes": peak_activation_bytes,
        "batch_size": batch_size,
        "threads": {str(count): latency._asdict() for count, latency in latencies.items()},
    }


def merge(manifest: Manifest, devices: Mapping[str, Any]) -> None:
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
                    f"Results must be of files of the export. Received: {key} on {name}, "
                    "which it does not hold"
                )
            expected = files[key].facts["sha256"]
            if found["sha256"] != expected:
                raise ValueError(
                    f"Results must be of the files of the export: {key} has SHA-256 "
                    f"{expected}. Received: {found['sha256']} on {name}"
                )
    for name, device in devices.items():
        there = manifest.setdefault("devices", {}).get(name, {"results": {}})
        results = there["results"]
        for key, found in device["results"].items():
            old = results.get(key, {})
            same = old.get("sha256") == found["sha256"]
            threads = {**(old["threads"] if same else {}), **found["threads"]}
            ordered = dict(sorted(threads.items(), key=lambda item: int(item[0])))
            results[key] = {**found, "threads": ordered}
        manifest["devices"][name] = {**device, "results": results}


def read_results(path: str | Path) -> dict[str, Any]:
    """Reads a file that `oekd bench --output` wrote.

    Args:
        path: Path of the file.

    Returns:
        Measurements by name of the device.

    Raises:
        ValueError: The file is not one of these.
        OSError: The file cannot be read.
    """
    try:
        devices = json.loads(Path(path).read_text())["devices"]
        for device in devices.values():
            for found in device["results"].values():
                found["sha256"].encode()
                for times in found["threads"].values():
                    float(times["median_ms"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(
            f"Results must be a file that oekd bench --output wrote. Received: {path}"
        ) from None
    return devices


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
    found = devices[device].get("results", {}).get(file.key)
    if not found or found["sha256"] != file.facts["sha256"]:
        return None
    return found["threads"].get(str(threads), {}).get("median_ms")


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
