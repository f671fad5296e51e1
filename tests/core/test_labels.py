"""Class indices of every kind of array: none is taken for another class."""

import numpy as np
import pytest

from oekd_tf.core.labels import are_rows, class_indices, count_classes

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", INTEGERS + FLOATS)
@pytest.mark.parametrize("num_classes", [None, 3, 300, 100_000])
def test_whole_numbers_of_any_type(dtype, num_classes):
    for labels in (np.array([2, 0, 1], dtype), np.array([[2], [0], [1]], dtype)):
        found = class_indices(labels, num_classes)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, [2, 0, 1])


def test_lists_and_none_at_all():
    np.testing.assert_array_equal(class_indices([0, 1], 2), [0, 1])
    assert class_indices(np.zeros(0, int)).shape == (0,)


@pytest.mark.parametrize(
    ("labels", "received"),
    [
        (np.array([0, 3]), "3 at index 1"),
        (np.array([[0], [3]]), "3 at index 1"),
        (np.array([0, -1, -2]), "-1 at index 1; -1 is TFDS's sign for no label"),
        (np.array([0, -2]), "-2 at index 1"),
        (np.array([0, 2**32]), "4294967296 at index 1"),
        (np.array([0, 2**32 + 1], np.uint64), "4294967297 at index 1"),
        (np.array([2**64 - 1], np.uint64), "18446744073709551615 at index 0"),
        (np.array([2**31], np.uint32), "2147483648 at index 0"),
        (np.array([-(2**63)]), "-9223372036854775808 at index 0"),
        (np.array([200], np.uint8), "200 at index 0"),
        (np.array([1.0, 0.5]), "0.5 at index 1"),
        (np.array([1.0, np.nan], np.float32), "nan at index 1"),
        (np.array([1.0, np.inf], np.float16), "inf at index 1"),
        (np.array([-np.inf]), "-inf at index 0"),
        (np.array([True, False]), "type bool, True at index 0"),
        (np.array([1 + 0j]), "type complex128, (1+0j) at index 0"),
        (np.array(["cat", "dog"]), "type str96, 'cat' at index 0"),
        (np.array([b"cat"]), "type bytes24, b'cat' at index 0"),
        (np.array([1, None]), "type object, 1 at index 0"),
        (np.array([0, 1], "M8[D]"), None),
        (np.eye(3), "shape (3, 3)"),
        (np.eye(3, dtype=bool), "shape (3, 3)"),
        (np.zeros((2, 2, 2), int), "shape (2, 2, 2)"),
        (np.array(1), "shape ()"),
    ],
)
def test_what_is_no_class(labels, received):
    with pytest.raises(ValueError, match=r"^y must be class indices, whole numbers") as error:
        class_indices(labels, 3, "y")
    message = str(error.value)
    assert "from 0 to 2, one an example" in message
    assert "\n" not in message
    if received:
        assert message.endswith(f"Received: {received}")
    assert ("argmax" in message) == (labels.shape == (3, 3))
    if received in ("3 at index 1", "200 at index 0"):
        # Without a number of classes a large label is one.
        assert class_indices(labels).max() == labels.max()
    else:
        with pytest.raises(ValueError, match="whole numbers from 0 on"):
            class_indices(labels)


def test_the_number_of_classes_that_labels_imply():
    assert count_classes(np.array([0, 1, 2])) == 3
    # As many without an example as with one may be; that is said elsewhere.
    assert count_classes(np.array([0, 3])) == 4
    message = (
        r"^y must be numbered from 0 on without wide gaps, or the number of classes be given\. "
        r"Received: 50000 at index 2, and 49,998 of 50,001 classes without an example$"
    )
    with pytest.raises(ValueError, match=message):
        count_classes(np.array([0, 1, 50_000, 1]), "y")
    with pytest.raises(ValueError, match=r"4 of 5 classes"):
        count_classes(np.array([4]))


def test_rows_of_probabilities():
    assert are_rows(np.eye(3), 3)
    assert not are_rows(np.zeros((3, 1)), 1)
    assert not are_rows(np.zeros(3), 3)
