import json

import keras
import numpy as np
import pytest
from networks import build_alone

import oekd_tf
from oekd_tf.backbones import CifarResNet, DenseNet, MobileNetV2
from oekd_tf.cli import bench
from oekd_tf.device.arena import least_arena
from oekd_tf.device.latency import fastest_turns
from oekd_tf.device.npu import compile_for
from oekd_tf.export.probe import int8_bytes, probe_student, tflite_file
from oekd_tf.models.size import count_flops

RESNET = CifarResNet(8)


def size(family, width, classes=10):
    model, _, parameters, _ = build_alone(family, 32, classes, width)
    return parameters, count_flops(model)


@pytest.mark.integration
@pytest.mark.parametrize(
    "family",
    [RESNET, DenseNet(16, 12), pytest.param(MobileNetV2(), marks=pytest.mark.slow)],
    ids=repr,
)
@pytest.mark.parametrize("unit", [0, 1])
def test_the_answer_fits_and_a_wider_one_does_not(family, unit):
    limit = size(family, 0.55)[unit]
    (width,) = oekd_tf.widths_for(family, [{("parameters", "flops")[unit]: limit}])
    assert size(family, width)[unit] <= limit
    wider = next(
        s for step in range(1, 400) if (s := size(family, width + step / 1000)[unit]) != limit
    )
    assert wider > limit


@pytest.mark.integration
@pytest.mark.slow
def test_compression_of_the_papers_resnet_110():
    # 96.3 % is what a width of 0.2 compresses this network by.
    widths = oekd_tf.widths_for(
        CifarResNet(20), [{"compression": 37}, {"compression": 96}], num_classes=10
    )
    full = size(CifarResNet(20), 1.0)[0]
    compressed = [100 * (1 - size(CifarResNet(20), w)[0] / full) for w in widths]
    assert 37 <= compressed[0] < 40
    assert 96 <= compressed[1] < 96.5
    assert oekd_tf.OnlineEnsemble(CifarResNet(20), (32, 32, 3), 10, widths=(1.0, *widths))


@pytest.mark.slow
def test_int8_bytes_of_a_deep_network():
    """Weights that only differ must not overflow on their way through fifty layers."""
    student = oekd_tf.OnlineEnsemble(CifarResNet(56), (8, 8, 3), 10, widths=(1.0, 0.2)).students[1]
    # 32,859 with 100 classes.
    parameters = 32_859 - 90 * (12 + 1)
    assert parameters < int8_bytes(student) < 4 * parameters


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, None])
def test_int8_bytes_are_those_of_a_trained_students_file(rng, tmp_path, batch_size):
    limit = 30_000
    said = []
    (width,) = oekd_tf.widths_for(
        RESNET, [{"int8_bytes": limit}], input_shape=(16, 16, 3), batch_size=batch_size,
        progress=said.append,
    )  # fmt: skip
    assert said[-1] == f"int8_bytes 30,000: width {width:g}"
    assert len(said) > 2

    def file_size(width):
        # As every data set's, the images' mean is not 0 nor their deviation 1.
        ensemble = oekd_tf.OnlineEnsemble(
            RESNET, (16, 16, 3), 10, widths=(1.0, width), mean=[127.0] * 3, std=[73.0] * 3
        )
        images = rng.integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
        ensemble.compile("adam")
        ensemble.fit(images, rng.integers(0, 10, 64), batch_size=16, verbose=0)
        manifest = oekd_tf.export.export_students(
            [ensemble.students[1]],
            tmp_path / f"{width}",
            formats=["int8"],
            batch_size=batch_size,
            calibration_images=images,
            test_images=images,
            test_labels=np.zeros(64, int),
            max_accuracy_drop={"int8": 1.0},
            progress=lambda line: None,
        )
        return manifest["students"][0]["formats"]["int8"]["bytes"]

    assert file_size(width) <= limit
    here = size(RESNET, width)
    step = next(s for s in range(1, 100) if size(RESNET, width + s / 1000) != here)
    assert file_size(width + step / 1000) > limit


def test_all_limits_of_a_budget_hold():
    flops = size(RESNET, 0.3)[1]
    (width,) = oekd_tf.widths_for(RESNET, [{"parameters": 50_000, "flops": flops}])
    assert size(RESNET, width)[1] <= flops
    assert size(RESNET, width)[0] <= 50_000


class ThreeSizes(oekd_tf.backbones.Backbone):
    """Networks of 32, 64 and 96 channels, which differ much, and no others."""

    def stem(self, images):
        return keras.layers.Conv2D(32, 3, 2, padding="same", name="stem")(images)

    def branch(self, stem_output, width, name):
        x = stem_output
        for number in (1, 2):
            channels = oekd_tf.backbones.scale_channels(96, width, 32)
            x = keras.layers.Conv2D(channels, 3, padding="same", name=f"{name}_{number}")(x)
        features = keras.layers.GlobalAveragePooling2D(name=f"{name}_pool")(x)
        return oekd_tf.backbones.Branch((x,), features)


@pytest.mark.integration
@pytest.mark.slow
def test_the_latency_of_the_answer_is_within_its_budget(tmp_path):
    family, said, paths = ThreeSizes(), [], {}
    for width in (1.0, 0.3):
        paths[str(width)] = tmp_path / f"{width}.tflite"
        student = probe_student(family, (32, 32, 3), 10, width)
        paths[str(width)].write_bytes(tflite_file(student, "float32"))
    known = fastest_turns(paths)
    # Nine times the arithmetic, nearly.
    assert known["1.0"] > 2 * known["0.3"]
    between = (known["0.3"] * known["1.0"]) ** 0.5
    budgets = [
        {"latency_ms": between, "format": "float32"},
        {"latency_ms": 1000, "format": "float32", "parameters": 70_000},
        {"latency_ms": between, "format": "float32", "parameters": 30_000},
    ]
    widths = oekd_tf.widths_for(family, budgets, progress=said.append)
    # 96 · width is nearest to 32 up to 0.499, and to 64 up to 0.833.
    assert widths[0] in (0.499, 0.833)
    assert widths[1:] == (0.833, 0.499)
    assert said[-1].startswith("latency_ms ")
    assert said[-1].endswith(", format float32, parameters 30,000: width 0.499")
    measured = [line for line in said if "ms in float32, 1 thread" in line]
    assert any(line.startswith("width 1: ") for line in measured)
    rule = r"room for .* ms in float32, 2 threads\. Received"
    with pytest.raises(ValueError, match=rule) as error:
        oekd_tf.widths_for(family, [{"latency_ms": 1e-6, "format": "float32", "threads": 2}])
    assert "\n" not in str(error.value)


@pytest.mark.integration
@pytest.mark.slow
def test_latencies_of_another_device_are_those_of_its_bench_file(rng, tmp_path):
    ensemble = oekd_tf.OnlineEnsemble(ThreeSizes(), (16, 16, 3), 4, widths=(1.0, 0.8, 0.3))
    images = rng.integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    manifest = oekd_tf.export.export_students(
        ensemble, tmp_path / "e", formats=["float32"], test_images=images,
        test_labels=np.zeros(8, int), progress=lambda line: None,
    )  # fmt: skip
    # What a device may have brought home: the middle one is the slowest.
    results = {
        f"{student['name']}/float32": {
            **{name: student["formats"]["float32"][name] for name in ("bytes", "sha256")},
            "peak_activation_bytes": 1000, "batch_size": 1,
            "threads": {"4": {"median_ms": latency, "p90_ms": latency, "runs": 50}},
        }
        for student, latency in zip(manifest["students"], (3.0, 3.5, 1.0), strict=True)
    }  # fmt: skip
    facts = {"cpu": "a", "platform": "b", "litert": "c", "time": "2026-01-01T00:00:00+00:00"}
    measured = {"devices": {"pi4": {**facts, "results": results}}}
    (tmp_path / "pi4.json").write_text(json.dumps(measured))
    bench.main([f"--exports={tmp_path / 'e'}", f"--merge={tmp_path / 'pi4.json'}"])

    def width(latency_ms, **more):
        there = {"format": "float32", "threads": 4, "exports": tmp_path / "e", "device": "pi4"}
        budget = {"latency_ms": latency_ms, **there, **more}
        (found,) = oekd_tf.widths_for(
            ThreeSizes(), [budget], input_shape=(16, 16, 3), num_classes=4, progress=lambda s: None
        )
        return found

    assert width(3.0) == 1.0
    assert width(2.9) == 0.3
    assert width(4.0, parameters=100_000) == 0.8
    for latency_ms, more, rule in (
        (0.5, {}, r"room for a student .* pi4, of 3 at width 1, 3.5 at .* Received: \{"),
        (
            3.0,
            {"threads": 1},
            "device of a budget .* with 1 thread, of pi4. Received: 'pi4'",
        ),
        (3.0, {"device": "pi5"}, "of pi4. Received: 'pi5'"),
    ):
        with pytest.raises(ValueError, match=rule) as error:
            width(latency_ms, **more)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"exports of a budget must be of .* student_1 has"):
        oekd_tf.widths_for(
            RESNET,
            [{"latency_ms": 9, "format": "float32", "threads": 4, "exports": tmp_path / "e",
              "device": "pi4"}],
        )  # fmt: skip


@pytest.mark.slow
def test_the_arena_of_the_answer_is_within_its_budget():
    full, narrow = (
        least_arena(tflite_file(probe_student(RESNET, (16, 16, 3), 10, width), "int8"))
        for width in (1.0, 0.5)
    )
    assert narrow < full
    limit = (narrow + full) // 2
    (width,) = oekd_tf.widths_for(
        RESNET, [{"arena_bytes": limit}], input_shape=(16, 16, 3), progress=lambda line: None
    )
    assert 0.5 <= width < 1
    found = least_arena(tflite_file(probe_student(RESNET, (16, 16, 3), 10, width), "int8"))
    assert narrow <= found <= limit


@pytest.mark.slow
def test_an_npu_runs_the_answer_as_often_as_asked():
    target = "ethos-u55-128"

    def speed(width):
        content = tflite_file(probe_student(RESNET, (8, 8, 3), 10, width), "int8")
        return compile_for(content, target)[1]["inferences_per_s"]

    asked = round(1.3 * speed(1.0), 1)
    (width,) = oekd_tf.widths_for(
        RESNET, [{"npu": target, "inferences_per_s": asked, "arena_bytes": 10**6}],
        input_shape=(8, 8, 3), progress=lambda line: None,
    )  # fmt: skip
    assert width < 1
    assert speed(width) >= asked


def test_the_full_width_is_an_answer():
    assert oekd_tf.widths_for(RESNET, [{"parameters": 10**9}]) == (1.0,)


@pytest.mark.parametrize(
    "budget",
    [
        {"parameters": 100}, {"flops": 1000}, {"compression": 99.99}, {"int8_bytes": 900},
        pytest.param({"arena_bytes": 5000}, marks=pytest.mark.slow),
        pytest.param({"npu": "ethos-u55-32", "inferences_per_s": 1e6}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_none_fits(budget):
    with pytest.raises(ValueError, match=r"room for the narrowest student.*Received: \{"):
        oekd_tf.widths_for(RESNET, [budget])


@pytest.mark.parametrize(
    "budgets",
    [
        [{"kilobytes": 1}],
        [{}],
        [5],
        [{"parameters": 0}],
        [{"compression": 100}],
        [{"flops": float("nan")}],
        {"parameters": 5},
        [{"latency_ms": 0}],
        [{"format": "int8"}],
        [{"parameters": 5, "threads": 1}],
        [{"latency_ms": 1, "format": "int9"}],
        [{"latency_ms": 1, "format": "saved_model"}],
        [{"latency_ms": 1, "threads": 0}],
        [{"latency_ms": 1, "threads": 1.5}],
        [{"latency_ms": 1, "device": "pi4"}],
        [{"parameters": 5, "exports": "e", "device": "pi4"}],
        [{"arena_bytes": 0}],
        [{"inferences_per_s": 5}],
        [{"npu": "ethos-u55-128"}],
        [{"npu": "ethos-u9", "inferences_per_s": 5}],
        [{"npu": "ethos-u55-128", "parameters": 5}],
    ],
)
def test_budgets_have_rules(budgets):
    with pytest.raises(ValueError, match="Received") as error:
        oekd_tf.widths_for(RESNET, budgets)
    assert "\n" not in str(error.value)
