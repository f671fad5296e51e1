"""Lookup of config files."""

from pathlib import Path


def find_config(path: str) -> str:
    """Finds a config file at the given path, or beside or inside the installed package.

    Args:
        path: Path of the file, for instance "configs/demo.py".

    Returns:
        An existing path; the given one if there is none.
    """
    package = Path(__file__).parent.parent
    for folder in (Path(), package.parent, package):
        if (folder / path).is_file():
            return str(folder / path)
    return path
