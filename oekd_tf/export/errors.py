"""What can go wrong in an export."""


class ExportError(ValueError):
    """A student cannot be exported, or a written file does not do what the student does."""


class RefusedFilesError(ExportError):
    """Some files of an export failed their checks; the others are delivered."""
