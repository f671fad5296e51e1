"""Types of summary.json, manifest.json, evaluation.json and results.json."""

from typing import Any, NotRequired, TypedDict

from oekd_tf.core.machine import Machine


class StudentSummary(TypedDict):
    """A student in `summary.json`.

    Attributes:
        name: "student_1" and so on.
        width: Fraction of the full number of channels.
        parameters: Number of trainable parameters.
        flops: Floating-point operations for one image, two a multiply-add.
        test_accuracy: Accuracy on the test split after the last epoch, from 0 to 1.
    """

    name: str
    width: float
    parameters: int
    flops: int
    test_accuracy: float


class ClassScores(TypedDict):
    """A network's recall on the test split, in `summary.json`.

    Attributes:
        balanced_accuracy: Mean recall of the classes that have test images, from 0 to 1.
        worst_class: Name of the class of the lowest recall.
        worst_recall: That recall.
        recall: Recall of each class; None for one without a test image.
    """

    balanced_accuracy: float
    worst_class: str
    worst_recall: float
    recall: list[float | None]


class PerClass(TypedDict):
    """A run class by class, in `summary.json`.

    Attributes:
        class_names: Names of the classes.
        train_examples: Number of training images of each; None where labels are read from files.
        test_examples: Number of test images of each.
        networks: Scores of each student and of the teacher, by name.
    """

    class_names: list[str]
    train_examples: list[int] | None
    test_examples: list[int]
    networks: dict[str, ClassScores]


class EarlyStopping(TypedDict):
    """Early stopping of a run in `summary.json`.

    Attributes:
        monitor: Name of the log, of the validation split.
        best_value: Its best value.
        best_epoch: Epoch of that value, from 1.
        stopped_epoch: The last epoch that was trained.
        planned_epochs: Number of epochs of the config.
        restored_epoch: Epoch whose weights the run ended with.
    """

    monitor: str
    best_value: float
    best_epoch: int
    stopped_epoch: int
    planned_epochs: int
    restored_epoch: int


class Summary(TypedDict):
    """A finished run: `summary.json`.

    Attributes:
        name: Name of the config.
        seed: Random seed.
        epochs: Number of epochs that were trained.
        steps: Number of training steps.
        replicas: Number of replicas that trained together.
        train_seconds: Seconds of training, those before a resume included.
        data: One line about the data set and its splits.
        students: The students that were trained.
        teacher_test_accuracy: Test accuracy of the teacher; None for a student alone.
        test_logs: All logs of the evaluation on the test split.
        versions: Versions of packages by name.
        data_notes: What a user should know of the data, one line each; nothing if absent.
        exports: Folder of the export, where the run has one.
        trained_by: The method and its arguments in words; runs of version 0.1 lack it.
        teacher_title: What the teacher is, likewise.
        early_stopping: The best epoch, where the config has a monitor.
        per_class: Recall of each class; runs of version 0.1 lack it.
    """

    name: str
    seed: int
    epochs: int
    steps: int
    replicas: int
    train_seconds: float
    data: str
    students: list[StudentSummary]
    teacher_test_accuracy: float | None
    test_logs: dict[str, float]
    versions: dict[str, str]
    data_notes: NotRequired[list[str]]
    exports: NotRequired[str]
    trained_by: NotRequired[str]
    teacher_title: NotRequired[str]
    early_stopping: NotRequired[EarlyStopping]
    per_class: NotRequired[PerClass]


class Preparation(TypedDict):
    """How a picture becomes an input of a network.

    Attributes:
        orientation: "exif": it is turned upright as its EXIF data say.
        crop: Share of the largest center crop of the input's aspect ratio that is taken, of a
            picture that has not the input's size already; None for the whole picture.
        resize: "bilinear".
        antialias: Whether resizing to a smaller size averages.
    """

    orientation: str
    crop: float | None
    resize: str
    antialias: bool


class SplitFacts(TypedDict):
    """Number of examples of a split, and a digest of its files or shards and its labels."""

    examples: int
    fingerprint: str


class Contract(TypedDict):
    """What makes a network's inputs and outputs: `contract.json`, and in manifest and card.

    What is not known is None; it is not guessed.

    Attributes:
        oekd_tf: Version of this package that wrote it.
        data: Name of the data set.
        class_names: Names of the classes, by index.
        image_shape: (height, width, channels) of an input.
        mean: Mean of each channel, in pixel units, that the network subtracts.
        std: Standard deviation of each channel that it divides by.
        class_counts: Number of training examples of each class.
        preparation: How a picture becomes an input.
        splits: Facts of "train", "validation" and "test".
    """

    oekd_tf: str
    data: str | None
    class_names: list[str] | None
    image_shape: list[int]
    mean: list[float] | None
    std: list[float] | None
    class_counts: list[int] | None
    preparation: Preparation | None
    splits: dict[str, SplitFacts] | None


class TensorFacts(TypedDict):
    """Input or output of a file in `manifest.json`; -1 in `shape` is a free size."""

    dtype: str
    shape: list[int]
    name: NotRequired[str]
    scale: NotRequired[float]
    zero_point: NotRequired[int]


class FileIdentity(TypedDict):
    """Path of a file or folder below its manifest's folder, its size and its SHA-256."""

    path: str
    bytes: int
    sha256: str


class Comparison(TypedDict):
    """A file beside the Keras student, on the same images.

    Attributes:
        accuracy: Share of images that the file gives the label of.
        agreement: Share of images with the same top class.
        largest_logit_difference: Largest difference of a logit.
    """

    accuracy: float
    agreement: float
    largest_logit_difference: float


class KindFacts(TypedDict, total=False):
    """Facts of a file that only some kinds of files have."""

    gzip_bytes: int
    input: TensorFacts
    output: TensorFacts
    operations: dict[str, int]
    tensor_types: dict[str, int]
    fine_tuning: dict[str, Any]
    class_recall: list[float | None]


class FileFacts(FileIdentity, Comparison, KindFacts):
    """A file in `manifest.json`; `oekd_tf.device.manifest` says what the fields are."""


class StudentFiles(TypedDict):
    """A student in `manifest.json`, with its files by the name of their format."""

    name: str
    width: float | None
    parameters: int
    flops: int
    input_shape: list[int]
    accuracy: float
    class_recall: NotRequired[list[float | None]]
    formats: dict[str, FileFacts]


class Manifest(TypedDict):
    """An export: `manifest.json`; `oekd_tf.device.manifest` says what the fields are."""

    made_by: dict[str, Any]
    class_names: list[str]
    checked_on_images: int
    checked_on_images_of_class: NotRequired[list[int]]
    calibration_images: int
    students: list[StudentFiles]
    failures: list[str]
    contract: NotRequired[Contract]
    devices: NotRequired[dict[str, Any]]
    cascades: NotRequired[dict[str, Any]]


class Evaluation(TypedDict):
    """A run of a study beside its logits: `evaluation.json`; fields as of `RunRecord`."""

    config: dict[str, Any]
    summary: Summary
    image_shape: list[int]
    num_classes: int
    curves: dict[str, list[float]]
    commit: str | None
    machine: NotRequired[Machine]
    versions: dict[str, str]


class Scores(TypedDict):
    """Metrics of a classifier on the test split.

    Attributes:
        accuracy: Accuracy, from 0 to 1.
        nll: Negative log-likelihood, in nats.
        ece: Expected calibration error, from 0 to 1.
        reliability: Number of images, confidence and accuracy of each bin.
        balanced_accuracy: Mean recall of the classes; older studies lack it.
    """

    accuracy: float
    nll: float
    ece: float
    reliability: list[list[float]]
    balanced_accuracy: NotRequired[float]


class StudentRecord(Scores):
    """A student of a run in `results.json`.

    Attributes:
        name: Name that the student has in the ensemble.
        width: Fraction of the full number of channels.
        parameters: Number of trainable parameters.
        flops: Floating-point operations for one image, two a multiply-add.
        agreement: Share of test images with the ensemble teacher's top class.
    """

    name: str
    width: float
    parameters: int
    flops: int
    agreement: NotRequired[float]


class RunRecord(TypedDict):
    """A run of a study in `results.json`.

    Attributes:
        method: Method or ablation.
        seed: Random seed.
        student: Number of the one student that the run is about, from 1; 0 for all students.
        epochs: Number of epochs.
        steps: Number of training steps.
        replicas: Number of replicas that trained together.
        train_seconds: Seconds of training; None if they were not measured.
        data: One line about the data set and its splits.
        image_shape: (height, width, channels).
        num_classes: Number of classes.
        test_images: Number of images of the test split.
        commit: Commit of the code that trained it; None outside of a repository.
        machine: Processor and cores; None if they are not known.
        versions: Versions of packages by name.
        students: The students that were trained.
        teacher: Metrics of the ensemble teacher; None for one student.
        curves: Loss and accuracies by epoch, by column of `metrics.csv`.
        trained_by: As in `Summary`.
        teacher_title: As in `Summary`.
    """

    trained_by: NotRequired[str]
    teacher_title: NotRequired[str]

    method: str
    seed: int
    student: int
    epochs: int
    steps: int
    replicas: int
    train_seconds: float | None
    data: str
    image_shape: list[int]
    num_classes: int
    test_images: int
    commit: str | None
    machine: NotRequired[Machine | None]
    versions: dict[str, str]
    students: list[StudentRecord]
    teacher: Scores | None
    curves: dict[str, list[float]]


class Results(TypedDict):
    """A study: `results.json`.

    Attributes:
        schema: Version of the schema.
        name: Name of the study's config.
        command: Command lines that made the study, one per line.
        config: Config that all runs share.
        methods: Fields in which each method or ablation differs, by dotted path.
        int8_bytes: Size of the int8 file of each network.
        runs: The finished runs.
        failed: Errors of runs that failed, by title.
    """

    schema: int
    name: str
    command: str
    config: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    int8_bytes: dict[str, int | None]
    runs: list[RunRecord]
    failed: NotRequired[dict[str, str]]
