"""Where config files are."""

from pathlib import Path


def find_config(path: str) -> str:
    """Where a config file is: as given, or beside or inside the installed package.

    Args:
        path: For instance "configs/demo.py".

    Returns:
        A path that exists, or the one given.
    """
    package = Path(__file__).parent.parent
    for folder in (Path(), package.parent, package):
        if (folder / path).is_file():
            return str(folder / path)
    return path
