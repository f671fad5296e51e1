"""The callback that writes metrics of each epoch to a CSV file."""

import csv
import io
from pathlib import Path

import keras

from oekd_tf.core.files import write_text


class MetricsCsv(keras.callbacks.Callback):
    """Writes a CSV file with a header and one row for each epoch.

    The file is replaced atomically after every epoch. When a run resumes from an earlier epoch,
    rows of the epochs that it repeats are dropped.

    Args:
        path: Path of the CSV file.

    Example:
        >>> ensemble.fit(train, epochs=30, callbacks=[MetricsCsv("run/metrics.csv")])
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, str]] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not self._rows:
            self._rows = read_metrics(self.path)
        number = epoch + 1
        self._rows = [row for row in self._rows if int(row["epoch"]) < number]
        values = {name: repr(float(value)) for name, value in (logs or {}).items()}
        self._rows.append({"epoch": str(number), **values})
        text = io.StringIO()
        columns = dict.fromkeys(name for row in self._rows for name in row)
        writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.path, text.getvalue())


def read_metrics(path: str | Path) -> list[dict[str, str]]:
    """Rows of a metrics file, by column; none if there is no file."""
    path = Path(path)
    if not path.exists():
        return []
    return list(csv.DictReader(path.read_text().splitlines()))
