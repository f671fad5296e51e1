"""Names of users in text: in a terminal, in Markdown and in a file of lines."""

import re
from collections.abc import Sequence

# What is a mark of Markdown where it stands: an underscore between letters is none.
_MARKED = re.compile(
    r"[\\`|<]|^[#>+-](?=\s)|(?<!^)\*|\*(?!$)|\](?=[(\[:])|!(?=\[)|&(?=#?\w+;)|~(?=~)|(?<!\w)_|_(?!\w)"
)


def printable(text: object) -> str:
    """Text in one line for a terminal: what is not printable, or no Unicode, is escaped.

    Example:
        >>> printable("cat\\n\\x1b[31m")
        'cat\\\\n\\\\x1b[31m'
    """
    shown = str(text).encode(errors="backslashreplace").decode()
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)


def visible(text: object) -> str:
    """Lines for a terminal: what is neither printable nor a line break is escaped.

    Example:
        >>> visible("cat\\x1b[31m\\ndog")
        'cat\\\\x1b[31m\\ndog'
    """
    return "\n".join(map(printable, str(text).split("\n")))


def in_markdown(text: object) -> str:
    """Text in one line of Markdown, in which nothing is a mark, a link or HTML.

    Example:
        >>> in_markdown("<b>|student_1")
        '\\\\<b>\\\\|student_1'
    """
    return _MARKED.sub(lambda match: "\\" + match[0], printable(text))


def in_picture(text: object) -> str:
    """Text in one line of a Matplotlib figure, in which $ begins no formula.

    Example:
        >>> in_picture("$5 bills")
        '\\\\$5 bills'
    """
    return printable(text).replace("$", r"\$")


def in_code(text: object) -> str:
    """Text in one line as a code span of Markdown.

    Example:
        >>> in_code("a`b")
        '`` a`b ``'
    """
    shown = printable(text)
    longest = max(map(len, re.findall("`+", shown)), default=0)
    mark = "`" * (longest + 1)
    return f"{mark} {shown} {mark}" if longest else f"{mark}{shown}{mark}"


def as_lines(names: Sequence[str]) -> str:
    """A file of one name a line; a line break within a name is escaped.

    Example:
        >>> as_lines(["cat", "dog\\nor wolf"])
        'cat\\ndog\\\\nor wolf\\n'
    """
    return "".join(f"{printable(name)}\n" for name in names)
