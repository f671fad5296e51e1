"""Markdown tables."""


def markdown_table(rows: list[dict[str, str]]) -> str:
    """Rows as a Markdown table that also reads well in a terminal.

    Args:
        rows: Rows with the same columns.

    Returns:
        The table without a final newline; all columns but the first are right-aligned.
    """
    columns = list(rows[0])
    widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}

    def line(cells: dict[str, str]) -> str:
        first, *others = columns
        aligned = [cells[first].ljust(widths[first])]
        aligned += [cells[column].rjust(widths[column]) for column in others]
        return "| " + " | ".join(aligned) + " |"

    rule = {c: "-" * (widths[c] - 1) + (":" if c != columns[0] else "-") for c in columns}
    return "\n".join([line({c: c for c in columns}), line(rule), *map(line, rows)])
