"""A trained student through every stage, to the files."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from small_runs import environment

import oekd_tf
from oekd_tf.export import ExportError, RefusedFilesError, export_students, read_manifest
from oekd_tf.export.compression import FineTuning, make_twin
from oekd_tf.export.compression.distilled_training import DistilledTraining, teacher_of

pytestmark = pytest.mark.integration

SPARSITY, CLUSTERS = 0.5, 8
FORMATS = (
    "int8", "qat_int8", "qat_uint8", "pruned_float32", "pruned_int8", "clustered_float32",
    "pruned_clustered_float32", "pruned_clustered_qat_int8",
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return oekd_tf.data.load("fashion_mnist_mini")


@pytest.fixture(scope="module")
def ensemble(data):
    keras.utils.set_random_seed(0)
    ensemble = oekd_tf.OnlineEnsemble(
        oekd_tf.backbones.CifarResNet(8), (28, 28, 1), 10, widths=(1.0, 0.4),
        mean=data.mean, std=data.std,
    )  # fmt: skip
    ensemble.compile(oekd_tf.optimizers.Adam(3e-3))
    ensemble.fit(data.train(64, seed=0), steps_per_epoch=150, verbose=0)
    return ensemble


@pytest.fixture(scope="module")
def exported(ensemble, data, tmp_path_factory):
    images, labels = data.test_arrays(500)
    fine_tuning = FineTuning(
        ensemble, data.train(64, seed=1), 40, epochs=1, learning_rate=3e-4,
        sparsity=SPARSITY, clusters=CLUSTERS,
    )  # fmt: skip
    before = ensemble.get_weights()
    lines = []
    output = tmp_path_factory.mktemp("savedmodels") / "run"
    manifest = export_students(
        ensemble.students[1:], output, formats=FORMATS, fine_tuning=fine_tuning,
        calibration_images=data.train_images(200), test_images=images, test_labels=labels,
        max_accuracy_drop=dict.fromkeys(FORMATS, 0.15), progress=lines.append,
    )  # fmt: skip
    for old, new in zip(before, ensemble.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return output, manifest["students"][0], lines


def kernels(path):
    """What a file holds as kernels of convolutions, in float or int8, one array a layer."""
    interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    found = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "FULLY_CONNECTED"):
            found.append(interpreter.get_tensor(tensors[operator["inputs"][1]]["index"]))
    return found


@pytest.mark.slow
def test_stages_that_formats_share_are_trained_once(exported):
    trained = [line for line in exported[2] if line.startswith("fine-tuning")]
    assert [line.split(":")[0].removeprefix("fine-tuning ") for line in trained] == [
        "qat", "pruned", "clustered", "pruned clustered", "pruned clustered qat",
    ]  # fmt: skip


@pytest.mark.slow
def test_fine_tuned_files_still_know_the_images(exported):
    _, entry, _ = exported
    assert entry["accuracy"] > 0.6
    for name, facts in entry["formats"].items():
        assert facts["accuracy"] > entry["accuracy"] - 0.15, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qat_int8", "pruned_clustered_qat_int8"])
def test_int8_files_have_no_float(exported, name):
    facts = exported[1]["formats"][name]
    assert set(facts["tensor_types"]) == {"int8", "int32"}
    assert facts["input"]["dtype"] == facts["output"]["dtype"] == "int8"
    assert exported[1]["formats"]["qat_uint8"]["input"]["dtype"] == "uint8"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pruned_float32", "pruned_int8", "pruned_clustered_qat_int8"])
def test_zeros_are_in_the_file(exported, name):
    output, entry, _ = exported
    facts = entry["formats"][name]
    for kernel in kernels(output / facts["path"]):
        assert (kernel == 0).mean() >= SPARSITY - 0.05
    stated = facts["fine_tuning"]["sparsity"]
    assert len(stated) == 11
    assert min(stated.values()) >= SPARSITY - 0.05


@pytest.mark.slow
def test_kernels_have_few_values(exported):
    output, entry, _ = exported
    for name in ("clustered_float32", "pruned_clustered_float32"):
        facts = entry["formats"][name]
        for kernel in kernels(output / facts["path"]):
            # Batch normalisation is folded in: a factor for each output channel.
            counts = [len(np.unique(channel)) for channel in kernel]
            assert max(counts) <= CLUSTERS, name
        assert max(facts["fine_tuning"]["clusters"].values()) <= CLUSTERS
    facts = entry["formats"]["pruned_clustered_qat_int8"]
    for kernel in kernels(output / facts["path"]):
        assert max(len(np.unique(channel)) for channel in kernel) <= CLUSTERS


@pytest.mark.slow
def test_pruned_files_compress(exported):
    size = {name: facts["gzip_bytes"] for name, facts in exported[1]["formats"].items()}
    assert size["pruned_float32"] < 0.8 * exported[1]["formats"]["pruned_float32"]["bytes"]
    assert size["pruned_int8"] < size["int8"]
    assert size["pruned_clustered_qat_int8"] < size["qat_int8"]


def test_a_step_is_the_hand_worked_loss(ensemble, rng):
    """Labels and the ensemble teacher's soft targets, summed over the networks."""
    images = rng.integers(0, 256, (6, 28, 28, 1)).astype(np.float32)
    labels = np.arange(6) % 10
    twins = [make_twin(student) for student in ensemble.students]
    for twin in twins:
        for layer in twin.layers:
            # With its statistics fixed, a network gives in training what it gives in inference.
            layer.trainable = not isinstance(layer, tf_keras.layers.BatchNormalization)
    training = DistilledTraining(
        twins, teacher_of(ensemble), temperature=3.0, label_weight=0.6, distillation_weight=0.3
    )
    training.compile(tf_keras.optimizers.SGD(0.0))
    logs = training.train_on_batch(images, labels, return_dict=True)

    def log_softmax(z):
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    logits = [student.predict(images, verbose=0) for student in ensemble.students]
    teacher = np.tensordot(ensemble.method.shares.numpy(), logits, 1)
    expected = 0.0
    for z in logits:
        label = -log_softmax(z)[np.arange(6), labels].mean()
        target = log_softmax(teacher / 3.0)
        soft = 9.0 * (np.exp(target) * (target - log_softmax(z / 3.0))).sum(-1).mean()
        expected += 0.6 * label + 0.3 * soft
    assert logs["loss"] == pytest.approx(expected, rel=1e-3)
    assert logs["student_2_accuracy"] == pytest.approx((logits[1].argmax(-1) == labels).mean())


def test_a_teacher_can_be_a_list_of_students(ensemble, rng):
    images = tf.constant(rng.integers(0, 256, (3, 28, 28, 1)), tf.float32)
    mean = np.mean([student(images, training=False) for student in ensemble.students], 0)
    np.testing.assert_allclose(teacher_of(ensemble.students)(images), mean, rtol=1e-5, atol=1e-5)
    assert np.abs(teacher_of(ensemble)(images) - mean).max() > 1e-4


def test_another_networks_weights_are_never_given(ensemble, data):
    fine_tuning = FineTuning(ensemble, data.train(8, seed=0), 1, epochs=1)
    for student in ensemble.students:
        ((twin, _),) = fine_tuning.tune([student], (), print)
        assert twin.name == student.name


def test_one_network_can_be_the_teacher(ensemble, data):
    student = ensemble.students[1]
    fine_tuning = FineTuning(ensemble.students[0], data.train(8, seed=0), 1, epochs=1)
    lines = []
    ((network, facts),) = fine_tuning.tune([student], ("qat",), lines.append)
    assert len(lines) == 1
    assert facts["fine_tuning"]["learning_rates"] == [3e-4]
    assert network.output_shape == (None, 10)


def test_a_network_without_a_twin_is_refused_and_the_other_formats_delivered(data, tmp_path):
    images = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(8, 3, activation="gelu", name="conv")(images)
    x = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    student = keras.Model(images, x, name="student_1")
    test_images, labels = data.test_arrays(50)
    with pytest.raises(RefusedFilesError, match=r"the activation gelu, conv$"):
        export_students(
            [student], tmp_path / "run", formats=("float32", "qat_int8"),
            fine_tuning=FineTuning([student], data.train(8, seed=0), 1, epochs=1),
            test_images=test_images, test_labels=labels, progress=lambda line: None,
        )  # fmt: skip
    (entry,) = read_manifest(tmp_path / "run")["students"]
    assert list(entry["formats"]) == ["float32"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, "sparsity must be at least 0 and below 1. Received: 1.0"),
        ({"clusters": 1}, "clusters must be at least 2. Received: 1"),
        ({"epochs": 0}, "at least one epoch of one step. Received: 0 of 5"),
        ({"teacher": 3}, "teacher must be callable. Received: int"),
    ],
)
def test_refusals(data, arguments, message):
    arguments = {"teacher": print, "train": None, "steps_per_epoch": 5, **arguments}
    with pytest.raises(ExportError, match=message):
        FineTuning(**arguments)


@pytest.mark.slow
def test_on_one_core(tmp_path):
    """Where TensorFlow's convolutions would abort the process with a thread alone."""
    # A child takes the affinity over.
    script = "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    script += "from oekd_tf.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [
            sys.executable, "-c", script, "train", "--config.backbone.arguments.depth=8",
            f"--workdir={tmp_path / 'run'}", f"--config.export.output={tmp_path / 'out'}",
            "--config.baselines=()", "--config.export.formats=qat_int8",
            "--config.fine_tuning.epochs=1", "--config.ensemble.widths=1.0,0.5",
            "--config.epochs=2",
        ],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "student_2" / "qat_int8.tflite").exists()
