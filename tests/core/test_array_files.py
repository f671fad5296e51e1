import io
import zipfile

import numpy as np
import pytest

from oekd_tf.core import machine
from oekd_tf.core.array_files import check_arrays
from oekd_tf.core.errors import ConfigError
from oekd_tf.data.npz import load_arrays


def _header(shape, descr="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def _write(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def test_what_numpy_writes(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(3), "c": np.zeros((0, 4), np.uint8)}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays, f=np.asfortranarray(np.ones((3, 2))))
    for name in ("plain.npz", "small.npz"):
        with np.load(check_arrays(tmp_path / name)) as loaded:
            np.testing.assert_array_equal(loaded["a"], arrays["a"])


def test_a_header_that_claims_more_than_there_is(tmp_path):
    path = _write(tmp_path / "claims.npz", x_train=_header((10**6, 10**6)) + b"few")
    assert path.stat().st_size < 1000
    with pytest.raises(ValueError, match=r"1,000,000,000,000 bytes by its header, and 3 in the"):
        check_arrays(path)
    with pytest.raises(ConfigError, match=r"--arrays must be a readable .npz file"):
        load_arrays(path)


def test_zeros_that_inflate_beyond_the_memory(tmp_path):
    path = _write(tmp_path / "zeros.npz", x=_header((20_000_000,)) + bytes(20_000_000))
    assert path.stat().st_size < 30_000
    check_arrays(path)
    free = machine.available_memory()
    assert 10**8 < free < 10**14
    with pytest.raises(ValueError, match=r"must fit the memory that is free, 0\.0 GB"):
        check_arrays(path, free=10_000_000)


def test_a_claim_of_the_archive_that_is_true_of_no_machine(tmp_path):
    """Both headers agree on a size; the bytes are not there."""
    path = tmp_path / "agreed.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", _header((10**12,)))
    content = bytearray(path.read_bytes())
    held = len(_header((10**12,)))
    # 4 GiB is the most that fits without further fields.
    lied = (2**32 - 2).to_bytes(4, "little")
    content = content.replace(held.to_bytes(4, "little"), lied)
    path.write_bytes(content)
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        check_arrays(path)


def test_python_objects_and_other_formats(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Received: Python objects"):
        check_arrays(tmp_path / "objects.npz")
    with pytest.raises(ValueError, match="format 1 or 2"):
        check_arrays(_write(tmp_path / "new.npz", a=b"\x93NUMPY\x09\x00" + bytes(200)))
