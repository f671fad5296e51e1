"""One check for any student of any network: save, reload, export, compare."""

import keras
import numpy as np

from oekd_tf.export import export_students


def check_student(student, images, labels, folder, calibration_images=None, min_agreement=None):
    """Saves and reloads a student, exports it in every format, and compares the logits.

    Args:
        student: A functional model from raw images to logits.
        images: Test images, uint8.
        labels: Their classes.
        folder: Where to write.
        calibration_images: Training images for int8; no int8 if None.
        min_agreement: As for `export_students`.

    Returns:
        The student's entry in the export's manifest.
    """
    expected = student.predict(images, verbose=0)
    assert expected.dtype == np.float32
    assert expected.shape == (len(images), student.output_shape[-1])

    path = folder / f"{student.name}.keras"
    student.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.name == student.name
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, rtol=1e-5, atol=1e-5)

    formats = ("saved_model", "float32") + (() if calibration_images is None else ("int8",))
    manifest = export_students(
        [student],
        folder / "export",
        formats=formats,
        calibration_images=calibration_images,
        test_images=images,
        test_labels=labels,
        min_agreement=min_agreement,
        progress=lambda line: None,
    )
    (entry,) = manifest["students"]
    assert set(entry["formats"]) == set(formats)
    scale = max(1.0, np.abs(expected).max())
    for file_format in ("saved_model", "float32"):
        facts = entry["formats"][file_format]
        assert facts["largest_logit_difference"] < 1e-3 * scale, (file_format, facts)
    return entry
