"""What can go wrong in an export."""


class ExportError(ValueError):
    """A student cannot be exported, or a written file does not do what the student does."""
