"""The files of this package: what each field is, and what it may be.

Files are read against these types by `oekd_tf.core.json_files`: a field of another type, a number
that is not finite or out of its range, or a name that is no name is refused. Fields that a type
does not name may be there, and are left as they are.

| file | type |
| --- | --- |
| `summary.json` of a run | `Summary` |
| `contract.json` of a run | `Contract` |
| `checkpoint.json` of a checkpoint | `CheckpointState` |
| `manifest.json` of an export | `Manifest` |
| `card.json` of a picked file | `Card` |
| what `oekd bench --output` writes | `Measurements` |
| `evaluation.json` of a study's run | `Evaluation` |
| `results.json` of a study | `Results` |
| `robustness.json` of `oekd robustness` | `Robustness` |
| `data_check.json` of `oekd check-data` | `DataReport` |
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from oekd_tf.core.machine import Machine

# Numbers that floating point holds exactly.
Count = Annotated[int, Meta(ge=0, le=2**53)]
Positive = Annotated[int, Meta(ge=1, le=2**53)]
Integer = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Share = Annotated[float, Meta(ge=0, le=1)]
Difference = Annotated[float, Meta(ge=-1, le=1)]
Amount = Annotated[float, Meta(ge=0, le=1e15)]
Number = Annotated[float, Meta(ge=-1e15, le=1e15)]
Width = Annotated[float, Meta(gt=0, le=1000)]
_SHA256 = r"^[0-9a-f]{64}\Z"
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_NAME = rf"^(?!\.{{1,2}}\Z)[^/\\{_UNSEEN}]+\Z"
_DEVICE = rf"^[^{_UNSEEN}]+\Z"
_FORMAT = r"^[a-z0-9_]{1,60}\Z"
_THREADS = r"^[1-9][0-9]{0,3}\Z"

# What the patterns mean, for errors.
PATTERNS = {
    _SHA256: "a SHA-256, 64 hexadecimal digits",
    _NAME: "a name without /, \\ and control characters",
    _DEVICE: "a name without control characters",
    _FORMAT: "a name of lower-case letters, digits and _",
    _THREADS: "a number of threads",
}

Sha256 = Annotated[str, Meta(pattern=_SHA256)]
# Of a student: it is shown, and names a folder.
Name = Annotated[str, Meta(pattern=_NAME, max_length=200)]
Device = Annotated[str, Meta(pattern=_DEVICE, max_length=200)]
FormatName = Annotated[str, Meta(pattern=_FORMAT)]
# A number of threads as a key.
Threads = Annotated[str, Meta(pattern=_THREADS)]
ImageShape = Annotated[list[Positive], Meta(min_length=3, max_length=3)]
Recall = list[Share | None]


class StudentSummary(TypedDict):
    """A student in `summary.json`.

    Attributes:
        name: "student_1" and so on.
        width: Fraction of the full number of channels.
        parameters: Number of trainable parameters.
        flops: Floating-point operations for one image, two a multiply-add.
        test_accuracy: Accuracy on the test split after the last epoch, from 0 to 1.
    """

    name: Name
    width: Width
    parameters: Count
    flops: Count
    test_accuracy: Share


class ClassScores(TypedDict):
    """A network's recall on the test split, in `summary.json`.

    Attributes:
        balanced_accuracy: Mean recall of the classes that have test images, from 0 to 1.
        worst_class: Name of the class of the lowest recall.
        worst_recall: That recall.
        recall: Recall of each class; None for one without a test image.
    """

    balanced_accuracy: Share
    worst_class: str
    worst_recall: Share
    recall: Recall


class PerClass(TypedDict):
    """A run class by class, in `summary.json`.

    Attributes:
        class_names: Names of the classes.
        train_examples: Number of training images of each; None where labels are read from files.
        test_examples: Number of test images of each.
        networks: Scores of each student and of the teacher, by name.
    """

    class_names: list[str]
    train_examples: list[Count] | None
    test_examples: list[Count]
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
    best_value: Number
    best_epoch: Positive
    stopped_epoch: Positive
    planned_epochs: Positive
    restored_epoch: Positive


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
        start: What students began with, where it was no random weights.
        teacher_title: What the teacher is, likewise.
        note: The config's sentence for the end of the report.
        early_stopping: The best epoch, where the config has a monitor.
        per_class: Recall of each class; runs of version 0.1 lack it.
    """

    name: str
    seed: Integer
    epochs: Positive
    steps: Positive
    replicas: Positive
    train_seconds: Amount
    data: str
    students: Annotated[list[StudentSummary], Meta(min_length=1)]
    teacher_test_accuracy: Share | None
    test_logs: dict[str, Number]
    versions: dict[str, str]
    data_notes: NotRequired[list[str]]
    exports: NotRequired[str]
    trained_by: NotRequired[str]
    start: NotRequired[str]
    teacher_title: NotRequired[str]
    note: NotRequired[str]
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

    orientation: Literal["exif"]
    crop: Annotated[float, Meta(gt=0, le=1)] | None
    resize: Literal["bilinear"]
    antialias: bool


class SplitFacts(TypedDict):
    """Number of examples of a split, and a digest of its files or shards and its labels."""

    examples: Count
    fingerprint: str


class InitialWeights(TypedDict):
    """What the students of a run began with.

    Attributes:
        source: The config's `initial_weights`.
        sha256: SHA-256 of the file that the run keeps of it.
        slice: How channels of narrower students were chosen.
    """

    source: str
    sha256: Sha256
    slice: str


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
        initial_weights: What students began with, where that was not at random.
        teacher_logits: SHA-256 of the stored logits that they follow, where they do.
        digest: In a run's folder, the SHA-256 of all fields above, as JSON with sorted names.
    """

    oekd_tf: str
    data: str | None
    class_names: list[str] | None
    image_shape: ImageShape
    mean: list[Number] | None
    std: list[Amount] | None
    class_counts: list[Count] | None
    preparation: Preparation | None
    splits: dict[str, SplitFacts] | None
    initial_weights: NotRequired[InitialWeights]
    teacher_logits: NotRequired[Sha256]
    digest: NotRequired[Sha256]


class TensorFacts(TypedDict):
    """Input or output of a file in `manifest.json`; -1 in `shape` is a free size."""

    dtype: str
    shape: list[Annotated[int, Meta(ge=-1, le=2**53)]]
    name: NotRequired[str]
    scale: NotRequired[Amount]
    zero_point: NotRequired[Integer]


class GoldenImage(TypedDict):
    """A picture of the golden vectors.

    Attributes:
        file: Name of its file beside `golden.json`; "" where there is none.
        input: What it becomes: the bytes of (height, width, channels), row by row, in base64.
        label: Name of the class of what it shows; None where it shows several.
    """

    file: str
    input: str
    label: str | None


class GoldenLogits(TypedDict):
    """A file's answers to the golden inputs.

    Attributes:
        path: Path of the file below the export's folder.
        sha256: SHA-256 of the file.
        logits: A row for each image, a number for each class.
        tolerance: Largest difference that another machine may give.
    """

    path: str
    sha256: Sha256
    logits: list[list[Number]]
    tolerance: Amount


class Golden(TypedDict):
    """Golden vectors of an export: `selftest/golden.json`.

    Attributes:
        contract: The contract, with the names of the classes.
        images: The pictures, with the inputs that they become.
        files: What each TFLite file answers, by student and format ("student_1/int8").
    """

    contract: Contract
    images: Annotated[list[GoldenImage], Meta(min_length=1)]
    files: dict[str, GoldenLogits]


class FileIdentity(TypedDict):
    """Path of a file or folder below its manifest's folder, its size and its SHA-256."""

    path: str
    bytes: Positive
    sha256: Sha256


class Comparison(TypedDict):
    """A file beside the Keras student, on the same images.

    Attributes:
        accuracy: Share of images that the file gives the label of.
        agreement: Share of images with the same top class.
        largest_logit_difference: Largest difference of a logit.
    """

    accuracy: Share
    agreement: Share
    largest_logit_difference: Amount


class FineTuningFacts(TypedDict, total=False):
    """What fine-tuning did to a file, beside its settings.

    Attributes:
        sparsity: Share of zeros of each kernel, by layer.
        clusters: Number of different values of each kernel, by layer.
    """

    sparsity: dict[str, Share]
    clusters: dict[str, Count]


class MicroFacts(TypedDict, total=False):
    """A file in TensorFlow Lite Micro, the interpreter of microcontrollers.

    Attributes:
        runtime: Name and version of the interpreter.
        unfit: Why it does not run the file, or not as it should; nothing else is known then.
        arena_bytes: Size of the smallest arena, the interpreter's memory, that the file starts in.
        images: Number of test images that it ran.
        accuracy: Share of them that it gives the label of.
        agreement: Share of them with the top class that LiteRT gives with the file.
        largest_difference: Largest difference of an output from that of LiteRT's plain kernels: in
            steps of a quantized output, of a float one in logits.
    """

    runtime: str
    unfit: str
    arena_bytes: Positive
    images: Positive
    accuracy: Share
    agreement: Share
    largest_difference: Amount


Precision = Literal["int8", "int16", "float32"]


class LayerFacts(TypedDict):
    """A layer of a student, as one of a file of mixed precision.

    Attributes:
        name: Name of the layer, or of several that are one operation there, joined by "+".
        error: Mean squared error of the logits over their variance when it alone is in int8.
        precision: "int8", "int16" (activations, with weights in int8) or "float32".
    """

    name: str
    error: Amount
    precision: Precision


class RescueFacts(TypedDict):
    """What was kept in a higher precision so that a file in int8 loses less.

    Attributes:
        expected_loss_int8: Share of accuracy that the student in int8 throughout is expected to
            lose, by the float student's own probabilities.
        expected_loss: The same of the file.
        images: Number of images that both are of.
        layers: The layers in the order of the network; none where int8 loses little.
    """

    expected_loss_int8: Share
    expected_loss: Share
    images: Positive
    layers: list[LayerFacts]


class KindFacts(TypedDict, total=False):
    """Facts of a file that only some kinds of files have."""

    gzip_bytes: Count
    input: TensorFacts
    output: TensorFacts
    operations: dict[str, Count]
    tensor_types: dict[str, Count]
    fine_tuning: FineTuningFacts
    class_recall: Recall
    micro: MicroFacts
    rescue: RescueFacts


class FileFacts(FileIdentity, Comparison, KindFacts):
    """A file in `manifest.json`; `oekd_tf.device.manifest` says what the fields are."""


class StudentFacts(TypedDict):
    """A student in `card.json`."""

    name: Name
    width: Width | None
    parameters: Count
    flops: Count
    input_shape: ImageShape
    accuracy: Share
    class_recall: NotRequired[Recall]


class StudentFiles(StudentFacts):
    """A student in `manifest.json`, with its files by the name of their format."""

    formats: dict[FormatName, FileFacts]


class MadeBy(TypedDict, total=False):
    """Versions, platform and time of an export, and what its caller added."""

    oekd_tf: str
    time: str
    config: dict[str, Any]


class Times(TypedDict):
    """Latencies of a file with one number of threads, in milliseconds, and number of runs."""

    median_ms: Amount
    p90_ms: Amount
    runs: Positive


class FileResult(TypedDict):
    """Measurements of a file; `oekd_tf.device.measurements` says what the fields are."""

    bytes: Positive
    sha256: Sha256
    peak_activation_bytes: Count
    batch_size: Positive
    threads: dict[Threads, Times]


class DeviceFacts(TypedDict):
    """A device that files were measured on."""

    cpu: str
    platform: str
    litert: str
    time: str


class DeviceResults(DeviceFacts):
    """A device, with results by file ("student_1/int8")."""

    results: dict[str, FileResult]


class NpuFacts(TypedDict):
    """A target of Arm's compiler Vela.

    Attributes:
        compiler: Name and version of the compiler.
        system_config: Vela's name of clock and bandwidths.
        memory_mode: Vela's name of what lies in which memory.
        clock_hz: Clock of the accelerator.
    """

    compiler: str
    system_config: str
    memory_mode: str
    clock_hz: Amount


class NpuResult(TypedDict):
    """What Vela says of a file.

    Attributes:
        sram_bytes: Memory in SRAM.
        dram_bytes: Memory in DRAM.
        flash_bytes: Memory in flash, on and off the chip.
        cycles: Estimated cycles of an inference.
        inferences_per_s: Estimated inferences a second.
        operators: Number of operators; all run on the accelerator.
    """

    sram_bytes: Count
    dram_bytes: Count
    flash_bytes: Count
    cycles: Count
    inferences_per_s: Amount
    operators: Positive


class NpuFileResult(NpuResult):
    """The same in a manifest, of the file with this SHA-256."""

    sha256: Sha256


class NpuResults(NpuFacts):
    """A target, with results by file ("student_1/int8")."""

    time: str
    results: dict[str, NpuFileResult]


class CascadeSplit(TypedDict):
    """A cascade on the images of a split; exports of version 0.1 lack the paired counts."""

    images: Positive
    small_accuracy: Share
    large_accuracy: Share
    accuracy: Share
    mean_cost: Amount
    share_asked: Share
    lost: NotRequired[Count]
    won: NotRequired[Count]
    drop: NotRequired[Difference]
    low: NotRequired[Difference]
    high: NotRequired[Difference]


class Cascade(TypedDict):
    """A cascade of two students; `oekd_tf.device.cascade` says what the fields are."""

    threshold: Annotated[float, Meta(ge=0, le=2)]
    max_accuracy_drop: Share
    cost: str
    small_cost: Amount
    large_cost: Amount
    sha256: Annotated[list[Sha256], Meta(min_length=2, max_length=2)]
    validation: CascadeSplit
    test: CascadeSplit


class Manifest(TypedDict):
    """An export: `manifest.json`; `oekd_tf.device.manifest` says what the fields are."""

    made_by: MadeBy
    class_names: list[str]
    checked_on_images: Positive
    checked_on_images_of_class: NotRequired[list[Count]]
    calibration_images: Count
    students: Annotated[list[StudentFiles], Meta(min_length=1)]
    failures: list[str]
    contract: NotRequired[Contract | None]
    selftest: NotRequired[FileIdentity]
    devices: NotRequired[dict[Device, DeviceResults]]
    npus: NotRequired[dict[Device, NpuResults]]
    cascades: NotRequired[dict[str, Cascade]]


class EmbeddingFacts(FileIdentity):
    """A file of a student's features.

    Attributes:
        cosine: Mean cosine similarity with the Keras student's features.
        least_cosine: The least of an image.
        neighbours: Share of test images with the same nearest other test image.
        input: Shape, type and quantization of its input.
        output: The same of its output.
    """

    cosine: float
    least_cosine: float
    neighbours: Share
    input: TensorFacts
    output: TensorFacts


class StudentEmbeddings(TypedDict):
    """A student in `embeddings.json`, with its files by the name of their format."""

    name: Name
    dimensions: Positive
    parameters: Count
    flops: Count
    formats: dict[FormatName, EmbeddingFacts]


class Embeddings(TypedDict):
    """What `oekd embeddings` writes: `embeddings.json`."""

    made_by: MadeBy
    contract: Contract | None
    checked_on_images: Positive
    students: list[StudentEmbeddings]
    failures: list[str]


class RobustNetwork(TypedDict):
    """A network in `robustness.json`.

    Attributes:
        student: Name of the student.
        trained: "together" or "alone".
        form: "keras", or "int8" for its TFLite file.
        width: Fraction of the full number of channels.
        parameters: Number of trainable parameters.
        scores: By property and measure; `oekd_tf.studies.robustness.properties` says what they are.
    """

    student: Name
    trained: Literal["together", "alone"]
    form: Literal["keras", "int8"]
    width: Width
    parameters: Count
    scores: dict[str, dict[str, Number]]


class Robustness(TypedDict):
    """What `oekd robustness` writes: `robustness.json`.

    Attributes:
        made_by: Versions and time.
        contract: What the students were trained on.
        settings: What was measured, as of `oekd_tf.robustness.Settings`.
        images: Number of test images.
        properties: Names of the properties.
        networks: The networks.
    """

    made_by: MadeBy
    contract: Contract | None
    settings: dict[str, Any]
    images: Positive
    properties: list[str]
    networks: Annotated[list[RobustNetwork], Meta(min_length=1)]


class Measurements(TypedDict):
    """What `oekd bench --output` writes."""

    devices: Annotated[dict[Device, DeviceResults], Meta(min_length=1)]


class CardFormat(FileFacts):
    """The file in `card.json`; its path is below the card's folder."""

    name: FormatName


class CardDevice(DeviceFacts):
    """Measurements of the card's file on one device."""

    results: FileResult


class CardNpu(NpuFacts):
    """What Vela says of the card's file for one target."""

    time: str
    results: NpuFileResult


class CardSource(TypedDict):
    """The export that a file was picked from."""

    exports: str
    path: str
    checked_on_images: Positive
    calibration_images: Count
    made_by: MadeBy


class Card(TypedDict):
    """A file that `oekd pick` has delivered: `card.json`."""

    student: StudentFacts
    format: CardFormat
    limits: dict[str, Amount]
    devices: dict[Device, CardDevice]
    npus: NotRequired[dict[Device, CardNpu]]
    class_names: list[str]
    contract: NotRequired[Contract | None]
    selftest: NotRequired[FileIdentity]
    source: CardSource


class BestState(TypedDict):
    """The best epoch so far in `checkpoint.json`."""

    value: Number
    epoch: Positive
    waited: Count


class CheckpointState(TypedDict):
    """A checkpoint beside its arrays: `checkpoint.json`.

    Attributes:
        name: Name of the checkpoint's folder; version 0.1 lacks it.
        epochs: Number of finished epochs.
        steps: Number of finished steps of the next epoch.
        seconds: Seconds of training so far.
        metrics: State of the epoch's metrics.
        best: The best epoch so far, where it is kept.
        bytes: Size of the arrays' file.
        sha256: Its SHA-256.
        digest: SHA-256 of all fields above, as JSON with sorted names; version 0.1 lacks it.
    """

    name: NotRequired[str]
    epochs: Annotated[int, Meta(ge=0, le=10**9)]
    steps: Annotated[int, Meta(ge=0, le=10**9)]
    seconds: Amount
    metrics: list[Any]
    best: NotRequired[BestState]
    bytes: Positive
    sha256: Sha256
    digest: NotRequired[Sha256]


class Evaluation(TypedDict):
    """A run of a study beside its logits: `evaluation.json`; fields as of `RunRecord`."""

    config: dict[str, Any]
    summary: Summary
    image_shape: ImageShape
    num_classes: Positive
    curves: dict[str, list[Number]]
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
        worst_recall: Lowest recall of a class; older studies lack it.
    """

    accuracy: Share
    nll: Amount
    ece: Share
    reliability: list[Annotated[list[Amount], Meta(min_length=3, max_length=3)]]
    balanced_accuracy: NotRequired[Share]
    worst_recall: NotRequired[Share]


class StudentRecord(Scores):
    """A student of a run in `results.json`.

    Attributes:
        name: Name that the student has in the ensemble.
        width: Fraction of the full number of channels.
        parameters: Number of trainable parameters.
        flops: Floating-point operations for one image, two a multiply-add.
        agreement: Share of test images with the ensemble teacher's top class.
    """

    name: Name
    width: Width
    parameters: Count
    flops: Count
    agreement: NotRequired[Share]


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
    seed: Integer
    student: Count
    epochs: Positive
    steps: Positive
    replicas: Positive
    train_seconds: Amount | None
    data: str
    image_shape: ImageShape
    num_classes: Positive
    test_images: Positive
    commit: str | None
    machine: NotRequired[Machine | None]
    versions: dict[str, str]
    students: Annotated[list[StudentRecord], Meta(min_length=1)]
    teacher: Scores | None
    curves: dict[str, list[Number]]


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
    int8_bytes: dict[str, Count | None]
    runs: list[RunRecord]
    failed: NotRequired[dict[str, str]]


class DataReport(TypedDict):
    """What `oekd check-data` found: `data_check.json`; fields as of `oekd_tf.data.DataCheck`."""

    name: str
    class_names: list[str]
    counts: dict[str, list[Count]]
    formats: dict[str, Count]
    sizes: list[Annotated[list[Count], Meta(min_length=3, max_length=3)]]
    unreadable: list[str]
    problems: list[str]
    notes: list[str]
