"""A format is one file of a package that configs can import without any framework."""

import gzip
import subprocess
import sys

import keras
import numpy as np
import pytest

from oekd_tf.device.tflite_model import TfliteModel
from oekd_tf.export import ExportError, export_students, formats

FILE = """
import gzip

from oekd_tf.export.formats.parts.base import ExactKind


class Float32Gzip(ExactKind):
    order = 25
    file_name = "float32.tflite.gz"
    derives_from = "float32"

    def convert(self, source):
        return gzip.compress(source.base, mtime=0)

    def run(self, path, images):
        from oekd_tf.device.tflite_model import TfliteModel

        content = gzip.decompress(path.read_bytes())
        return TfliteModel(content).logits(images), {"gzip_bytes": path.stat().st_size}
"""


@pytest.fixture
def add_file(tmp_path, monkeypatch):
    """Puts a file into a folder that the package of formats looks into."""
    folder = tmp_path / "more_formats"
    folder.mkdir()
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(folder)])
    added = []

    def add(name, text):
        (folder / f"{name}.py").write_text(text)
        added.append(name)

    yield add
    formats._load.cache_clear()
    for name in added:
        sys.modules.pop(f"{formats.__name__}.{name}", None)
        vars(formats).pop(name, None)


def test_a_file_is_a_format(add_file, rng, tmp_path):
    assert not formats.is_format("float32_gzip")
    add_file("float32_gzip", FILE)
    assert formats.names()[:4] == ("saved_model", "float32", "float32_gzip", "float16")
    assert formats.is_format("float32_gzip")
    form = formats.parse("pruned_float32_gzip")
    assert (form.stages, form.kind.name) == (("pruned",), "float32_gzip")
    assert form.file_name == "pruned_float32.tflite.gz"
    assert not formats.is_format("qat_float32_gzip")

    images = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))
    student = keras.Model(images, keras.layers.Dense(2)(x), name="student_1")
    pixels = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    manifest = export_students(
        student, tmp_path / "run", formats=("float32", "float32_gzip"), test_images=pixels,
        test_labels=student.predict(pixels, verbose=0).argmax(-1), processes=0,
        progress=lambda line: None,
    )  # fmt: skip
    found = manifest["students"][0]["formats"]
    assert list(found) == ["float32", "float32_gzip"]
    assert found["float32_gzip"]["path"] == "student_1/float32.tflite.gz"
    assert found["float32_gzip"]["agreement"] == found["float32_gzip"]["accuracy"] == 1
    assert found["float32_gzip"]["gzip_bytes"] == found["float32_gzip"]["bytes"]
    compressed = (tmp_path / "run" / "student_1" / "float32.tflite.gz").read_bytes()
    plain = TfliteModel(tmp_path / "run" / "student_1" / "float32.tflite").logits(pixels)
    np.testing.assert_array_equal(TfliteModel(gzip.decompress(compressed)).logits(pixels), plain)


def test_a_file_that_fails_its_check_is_refused(add_file, rng, tmp_path):
    add_file("float32_gzip", FILE.replace("return TfliteModel", "return -TfliteModel"))
    images = keras.Input((8, 8, 3))
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(images))
    student = keras.Model(images, logits, name="student_1")
    pixels = rng.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(ExportError, match=r"^student_1 float32_gzip: its test accuracy must be"):
        export_students(
            student, tmp_path / "run", formats=("float32_gzip",), test_images=pixels,
            test_labels=student.predict(pixels, verbose=0).argmax(-1), processes=0,
            progress=lambda line: None,
        )  # fmt: skip


def test_a_file_must_define_one_format(add_file):
    add_file("nothing", "from oekd_tf.export.formats.parts.base import Kind\n")
    with pytest.raises(ImportError, match=r"nothing\.py must define one subclass.*Received: 0"):
        formats.names()


def test_kinds_of_today():
    assert formats.names() == (
        "saved_model", "float32", "float16", "dynamic", "int8", "uint8", "int16x8", "mcu", "mixed",
        "weight_only_int4", "onnx",
    )  # fmt: skip
    assert all(formats.kind(name).name == name for name in formats.names())
    assert formats.parse("int8") == formats.parse("int8")
    assert formats.RULE == (
        "one of saved_model, float32, float16, dynamic, int8, uint8, int16x8, mcu, mixed, "
        "weight_only_int4, onnx; prefix pruned_ and/or clustered_ to fine-tune first; qat_int8 and "
        "qat_uint8 and qat_mcu take the same prefixes"
    )
    with pytest.raises(ValueError, match=r"A kind must be one of saved_model, .*Received: 'parts'"):
        formats.kind("parts")


def test_names_are_known_before_any_framework_is_loaded():
    program = (
        "import sys; from oekd_tf.export.formats import parse\n"
        "parse('pruned_qat_int8')\n"
        "print({'tensorflow', 'keras', 'ai_edge_litert', 'numpy', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
