"""The callback that writes metrics of each epoch to a CSV file."""

import csv
import io
from pathlib import Path

import keras

from oekd_tf.core.errors import ConfigError, format_value, one_line
from oekd_tf.core.files import write_text
from oekd_tf.core.json_files import read_file


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

    def on_train_begin(self, logs: dict | None = None) -> None:
        # Before an epoch is trained: a damaged file would end it.
        self._rows = read_metrics(self.path)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
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
    """Reads the file that `MetricsCsv` writes.

    Args:
        path: Path of the file.

    Returns:
        A row for each epoch: text by column, "epoch" first; none if there is no file.

    Raises:
        ConfigError: A value is no number, or epochs do not rise.
    """
    path = Path(path)
    try:
        rows = list(csv.DictReader(read_file(path).decode().splitlines(), strict=True))
        last = 0
        for number, row in enumerate(rows, start=2):
            for name, value in row.items():
                # A column that began later is empty before.
                if not (name and isinstance(value, str)) or (value and not _is_number(value)):
                    raise ValueError(f"{format_value(value)} as {name} in line {number}")
            epoch = row.get("epoch") or ""
            if not epoch.isdecimal() or not last < int(epoch) < 10**9:
                raise ValueError(f"epoch {format_value(epoch)} in line {number}")
            last = int(epoch)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(
            f"{path} must be the metrics of a run, which MetricsCsv writes. "
            f"Received: {one_line(error)}. Restore it, or move it away."
        ) from None
    return rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
