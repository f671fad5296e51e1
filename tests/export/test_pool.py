"""Processes that convert, and what becomes of the export when one of them ends."""

import json
import time

import keras
import numpy as np
import pytest

from oekd_tf.export.arguments import known_contract
from oekd_tf.export.formats.parts.signature import write_converter_input
from oekd_tf.export.pool import Workers, sensible_processes
from oekd_tf.export.run_one import Job

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(images)
    logits = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x))
    student = keras.Model(images, logits, name="student_1")
    write_converter_input(student, folder / "source")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    np.save(folder / "images.npy", pixels)
    contract = {**known_contract(None, student, None), "class_names": ["cat", "dog"]}
    (folder / "contract.json").write_text(json.dumps(contract))
    return Job(
        student="student_1",
        format_name="float32",
        source=str(folder / "source"),
        path=str(folder / "float32.tflite"),
        images=str(folder / "images.npy"),
        logits=str(folder / "logits.npy"),
        contract=str(folder / "contract.json"),
    ), student.predict(pixels, verbose=0)


def test_a_process_that_ends_is_an_answer_and_is_replaced(job):
    job, expected = job
    with Workers(1) as workers:
        assert "facts" in workers.submit(job).result(timeout=120)
        (process,) = workers._started
        # As the converter does when it meets what it did not expect.
        process._process.kill()
        process._process.wait()
        answer = process.run(job)
        assert answer["refused"].startswith(
            "The converter crashed on student_1 float32 (exit code -9). Last output: "
        )
        assert workers.submit(job).result(timeout=120)["facts"]["operations"]["CONV_2D"] == 1
        np.testing.assert_allclose(np.load(job.logits), expected, rtol=1e-4, atol=1e-4)


def test_failures_are_told_apart(job):
    job, _ = job
    with Workers(0) as workers:
        refused = workers.submit(job._replace(format_name="dynamic")).result()
        failed = workers.submit(job._replace(path="/proc/nowhere/file")).result()
    assert "fewer than 1,024 weights in float here" in refused["refused"]
    assert failed["failed"].startswith("/proc/nowhere/file and its neighbours must be writable")


def test_whatever_else_goes_wrong_costs_one_file(job):
    job, _ = job
    np.save(job.images.replace("images", "others"), np.zeros((3, 9, 9, 3), np.uint8))
    with Workers(0) as workers:
        refused = workers.submit(
            job._replace(images=job.images.replace("images", "others"))
        ).result()
    assert refused["refused"].startswith(
        "The file student_1 float32 was written but does not run: Images must be of shape"
    )


def test_nothing_waits_or_starts_after_a_failure(job):
    job, _ = job
    start = time.monotonic()

    def fail():
        with Workers(1) as workers:
            futures.extend(workers.submit(job) for _ in range(8))
            raise KeyboardInterrupt

    futures = []
    with pytest.raises(KeyboardInterrupt):
        fail()
    # Eight conversions, each in a process of its own, would take minutes.
    assert time.monotonic() - start < 20
    assert sum(future.cancelled() for future in futures) >= 6


def test_processes_start_where_they_pay():
    small = keras.Sequential([keras.Input((4,)), *[keras.layers.Dense(4)] * 1])
    images = keras.Input((4,))
    x = images
    for _ in range(300):
        x = keras.layers.Dense(4)(x)
    assert sensible_processes(10, small) == 0
    assert sensible_processes(40, keras.Model(images, x)) >= 1
