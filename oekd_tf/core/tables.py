"""Markdown tables."""

from oekd_tf.core.text import in_markdown


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table that also reads well in a terminal.

    Args:
        rows: Rows with the same columns, of plain text: what Markdown would take for a mark is
            escaped.

    Returns:
        The table without a final newline; all columns but the first are right-aligned.
    """
    rows = [{in_markdown(c): in_markdown(cell) for c, cell in row.items()} for row in rows]
    columns = list(rows[0])
    widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}

    def line(cells: dict[str, str]) -> str:
        first, *others = columns
        aligned = [cells[first].ljust(widths[first])]
        aligned += [cells[column].rjust(widths[column]) for column in others]
        return "| " + " | ".join(aligned) + " |"

    rule = {c: "-" * (widths[c] - 1) + (":" if c != columns[0] else "-") for c in columns}
    return "\n".join([line({c: c for c in columns}), line(rule), *map(line, rows)])
