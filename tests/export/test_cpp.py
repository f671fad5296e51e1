"""C++ sources of data, read back by Python and by a compiler."""

import shutil
import subprocess

import pytest

from oekd_tf.export.formats.parts import cpp


def test_arrays_come_back():
    content = bytes(range(256)) * 3
    source = f"alignas(16) const unsigned char kModel[kN] = {{\n{cpp.array(content, True)}\n}};"
    assert cpp.bytes_of_array(source, "kModel") == content
    with pytest.raises(ValueError, match=r"must hold an array kOther"):
        cpp.bytes_of_array(source, "kOther")
    assert cpp.array([-1, 20]) == "    -1, 20,"


def test_constants():
    assert cpp.constant("constexpr int kA = -7;\nconstexpr int kAB = 8;", "kAB") == 8
    with pytest.raises(ValueError, match=r"must hold a constant kB"):
        cpp.constant("constexpr int kA = 7;", "kB")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("student_1", "student_1"), ("my net-2", "my_net_2"), ("2nd", "_2nd"), ("größe", "gr__e")],
)
def test_names(name, expected):
    assert cpp.identifier(name) == expected


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("CONV_2D", "AddConv2D"),
        ("DEPTHWISE_CONV_2D", "AddDepthwiseConv2D"),
        ("AVERAGE_POOL_2D", "AddAveragePool2D"),
        ("FULLY_CONNECTED", "AddFullyConnected"),
        ("HARD_SWISH", "AddHardSwish"),
        ("PADV2", "AddPadV2"),
        ("MEAN", "AddMean"),
    ],
)
def test_calls(operation, call):
    assert cpp.resolver_call(operation) == call


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
def test_a_compiler_reads_texts_as_they_were(tmp_path):
    texts = ["cat", 'a "b" \\ c', "größe 50 km/h", "??/ trigraph", "1\t2", "日本", "\x01f"]
    lines = "\n".join(f"std::puts({cpp.text(one)});" for one in texts)
    (tmp_path / "a.cc").write_text(f"#include <cstdio>\nint main() {{\n{lines}\n}}\n")
    subprocess.run(["g++", "a.cc", "-o", "a"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "a"], capture_output=True, check=True)
    assert done.stdout.decode() == "".join(f"{one}\n" for one in texts)
