"""Markdown that quotes what others wrote, none of which can end the place that it is in."""

import html
import re
import textwrap
from collections.abc import Iterable, Sequence

_MOST_CHARACTERS = 200  # of a name that is quoted: it must not fill the card
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
_HUB = "https://huggingface.co"


def inline(value: object, most: int = _MOST_CHARACTERS) -> str:
    """A value as text on one line in which nothing has a meaning: no table, code, link, HTML or marker.

    Args:
        value: Any.
        most: Characters at the most. Default 200.

    Returns:
        The line; `` ...`` ends what was cut.
    """
    text = textwrap.shorten(str(value), most, placeholder=" ...") or str(value)[:most]
    text = re.sub(r"([\\`*_{}\[\]|~$!#@:])", r"\\\1", "".join(filter(str.isprintable, text)))
    return html.escape(text, quote=False)


def literal(value: object) -> str:
    """A value as Python on one line that holds no HTML, and so none of our markers."""
    text = repr(value).replace("<", "\\x3c")
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table.

    Args:
        header: Names of the columns.
        rows: Cells, quoted.

    Returns:
        Its lines.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def hub_link(name: str, kind: str = "") -> str:
    """A link to a repository of the Hub; what cannot be one is quoted.

    Args:
        name: Such as ``"me/data"``.
        kind: ``"datasets/"`` or, for a model, nothing.

    Returns:
        The link, or the name as text.

    Example:
        >>> hub_link("me/data", "datasets/")
        '[me/data](https://huggingface.co/datasets/me/data)'
    """
    return f"[{inline(name)}]({_HUB}/{kind}{name})" if _REPO.fullmatch(name) else inline(name)
