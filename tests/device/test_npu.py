"""What Vela says of real files, against its own output, and how files are picked by it."""

import csv
import json
import re
import subprocess
import sys

import pytest

from oekd_tf.cli import bench, pick
from oekd_tf.device.exported import read_export
from oekd_tf.device.npu import TARGETS, compile_for, read_summary
from oekd_tf.device.npu_results import milliseconds

TARGET = "ethos-u55-128"
# One a family; the others take as long again.
QUICK = (TARGET, "ethos-u65-512", "ethos-u85-2048")
VELA = (sys.executable, "-m", "ethosu.vela")


def content_of(folder, number, form="int8"):
    return (folder / f"student_{number}" / f"{form}.tflite").read_bytes()


@pytest.mark.parametrize(
    "target",
    [
        target if target in QUICK else pytest.param(target, marks=pytest.mark.slow)
        for target in TARGETS
    ],
)
def test_the_table_is_velas_own(exported, tmp_path, target):
    """To the digit; from one run of Vela to the next figures differ a little."""
    done = subprocess.run(
        [*VELA, str(exported / "student_1" / "int8.tflite"), f"--accelerator-config={target}",
         f"--output-dir={tmp_path}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (table,) = tmp_path.glob("*.csv")
    facts, found = read_summary(done.stdout, table)
    with table.open() as file:
        (row,) = csv.DictReader(file)
    again = compile_for(content_of(exported, 1), target)
    assert again[0] == facts
    assert again[1]["cycles"] == pytest.approx(found["cycles"], rel=0.02)
    assert again[1]["sram_bytes"] == pytest.approx(found["sram_bytes"], rel=0.02)
    assert found["sram_bytes"] == float(row["sram_memory_used"]) * 1024
    assert found["dram_bytes"] == float(row["dram_memory_used"]) * 1024
    flash = float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"])
    assert found["flash_bytes"] == flash * 1024
    assert found["cycles"] == int(row["cycles_total"])
    assert str(found["inferences_per_s"]) == row["inferences_per_second"]
    assert (facts["system_config"], facts["memory_mode"]) == (
        row["system_config"], row["memory_mode"]
    )  # fmt: skip
    assert f"NPU operators = {found['operators']} (100.0%)" in done.stdout


def test_targets_are_those_that_vela_knows():
    shown = subprocess.run([*VELA, "--help"], capture_output=True, text=True, check=True).stdout
    known = re.search(r"--accelerator-config \{([^}]*)\}", shown)[1]
    assert tuple(known.replace("\n", "").replace(" ", "").split(",")) == TARGETS


def test_memory_mode_and_system_config(exported):
    content = content_of(exported, 1)
    _, usual = compile_for(content, TARGET)
    facts, found = compile_for(content, TARGET, "Ethos_U55_Deep_Embedded", "Sram_Only")
    assert (facts["system_config"], facts["memory_mode"]) == (
        "Ethos_U55_Deep_Embedded", "Sram_Only"
    )  # fmt: skip
    assert facts["clock_hz"] == 200e6
    assert found["inferences_per_s"] != usual["inferences_per_s"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ethos-u9",), r"^An NPU must be one of ethos-u55-32, .*Received: 'ethos-u9'"),
        ((TARGET, "Fast"), r"^Vela must be able to compile a file\. .*Fast not found"),
        (
            (TARGET, None, "Big"),
            r"^Vela must be able to compile a file\. .*Big not found",
        ),
    ],
)
def test_arguments(exported, arguments, message):
    with pytest.raises(ValueError, match=message):
        compile_for(content_of(exported, 2), *arguments)


def test_what_falls_back_to_the_processor_is_refused(exported):
    """Vela's exit code is 0."""
    with pytest.raises(ValueError, match=r"^Every operator .* with (\d+) of \1 on the processor;"):
        compile_for(content_of(exported, 1, "float32"), TARGET)


def test_what_is_no_file():
    with pytest.raises(ValueError, match=r"^Vela must be able to compile a file\. .*load"):
        compile_for(b"TFL3" * 100, TARGET)


class TestBench:
    def test_into_the_manifest(self, export, capsys):
        bench.main([f"--exports={export}", f"--npu={TARGET}"])
        npus = read_export(export)["npus"]
        assert list(npus) == [TARGET]
        assert set(npus[TARGET]["results"]) == {"student_1/int8", "student_2/int8"}
        found = npus[TARGET]["results"]["student_2/int8"]
        shown = capsys.readouterr().out
        pattern = rf" {found['cycles']:,} \| +{found['inferences_per_s']:,.1f} "
        assert re.search(pattern, shown)
        assert (export / "trade_off.png").read_bytes().startswith(b"\x89PNG")
        bench.main([f"--exports={export}", "--npu=ethos-u85-256", "--students=student_2"])
        assert read_export(export)["npus"][TARGET] == npus[TARGET]

    def test_other_results_stay_unless_made_otherwise(self, export):
        for more in ((), ("--students=student_2",)):
            bench.main([f"--exports={export}", f"--npu={TARGET}", *more])
            assert len(read_export(export)["npus"][TARGET]["results"]) == 2
        bench.main(
            [f"--exports={export}", f"--npu={TARGET}", "--students=student_2",
             "--memory_mode=Sram_Only"]
        )  # fmt: skip
        assert list(read_export(export)["npus"][TARGET]["results"]) == ["student_2/int8"]

    def test_a_file_that_falls_back_is_refused_by_name(self, export, fails):
        line = fails(bench.main, f"--exports={export}", f"--npu={TARGET}", "--formats=float32,int8")
        assert "2 of 4 files are not for ethos-u55-128: student_1/float32: Every operator" in line
        assert set(read_export(export)["npus"][TARGET]["results"]) == {
            "student_1/int8", "student_2/int8"
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--npu=ethos-u9"], "--npu must be one of ethos-u55-32, "),
            ([f"--npu={TARGET}", "--threads=1"], "--threads must be left out with --npu"),
            (["--memory_mode=Sram_Only"], "--memory_mode must be left out without --npu"),
            ([f"--npu={TARGET}", "--formats=saved_model"], "--formats must name a TFLite format"),
        ],
    )
    def test_flags(self, export, fails, flags, message):
        before = (export / "manifest.json").read_text()
        assert message in fails(bench.main, f"--exports={export}", *flags)
        assert (export / "manifest.json").read_text() == before

    def test_without_vela(self, export):
        program = (
            "import sys; sys.modules['ethosu'] = None\n"
            "from oekd_tf.cli import bench\n"
            f"bench.main(['--exports={export}', '--npu={TARGET}'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr == (
            "error: Vela, Arm's compiler, is not installed: pip install 'oekd-tf[mcu]'\n"
        )


class TestPick:
    @pytest.fixture
    def compiled(self, export):
        bench.main([f"--exports={export}", f"--npu={TARGET}"])
        return export, read_export(export)["npus"][TARGET]["results"]

    def test_under_sram_and_latency(self, compiled, tmp_path, capsys):
        export, results = compiled
        accuracy = {
            f"{student['name']}/int8": student["formats"]["int8"]["accuracy"]
            for student in read_export(export)["students"]
        }
        assert accuracy["student_1/int8"] > accuracy["student_2/int8"]
        argv = [f"--exports={export}", f"--npu={TARGET}", "--overwrite"]
        argv.append(f"--output={tmp_path / 'picked'}")
        most = max(found["sram_bytes"] for found in results.values())
        pick.main([*argv, f"--max_sram={most}"])
        assert "student_1/int8: " in capsys.readouterr().out
        slower = milliseconds(results["student_1/int8"])
        assert slower > milliseconds(results["student_2/int8"])
        pick.main([*argv, f"--max_latency_ms={0.99 * slower}"])
        shown = capsys.readouterr().out
        assert "student_2/int8: " in shown
        assert f"ms on {TARGET}" in shown
        card = json.loads((tmp_path / "picked" / "card.json").read_text())
        assert card["npus"][TARGET]["results"] == results["student_2/int8"]
        assert f"on {TARGET}" in (tmp_path / "picked" / "CARD.md").read_text()

    def test_what_does_not_fit(self, compiled, fails):
        export, _ = compiled
        line = fails(pick.main, f"--exports={export}", f"--npu={TARGET}", "--max_sram=1")
        assert "it misses max_sram by " in line
        assert "bytes of SRAM, limit 1 bytes of SRAM" in line

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--npu=ethos-u85-256"], "must be one that oekd bench --npu compiled for, of ethos"),
            (["--max_sram=1KiB"], "Received: none, with --max_sram"),
            ([f"--npu={TARGET}", "--device=pi"], "--device must be left out with --npu"),
            ([f"--npu={TARGET}", "--formats=float32"], "Run: oekd bench --exports="),
        ],
    )
    def test_flags(self, compiled, fails, flags, message):
        assert message in fails(pick.main, f"--exports={compiled[0]}", *flags)
