"""Where the bytes of a media row are: in the row, in a file, in a file of an archive, or behind a URL."""

import io
from typing import Any

import fsspec


def open_media(row: Any) -> str | io.BytesIO:
    """What decoders open.

    Args:
        row: ``{"bytes": ..., "path": ...}``, one of them not null. The path may be any that ``datasets`` reads too:
            of a file, ``"zip://a.png::/folder/archive.zip"``, ``"https://..."``, ``"hf://..."``.

    Returns:
        The path of a file, else a file in memory.

    Raises:
        OSError: If what the path names cannot be read.
    """
    path = row["path"]
    if row["bytes"] is not None:
        return io.BytesIO(row["bytes"])
    if "://" not in path:
        return str(path)
    try:
        with fsspec.open(path, "rb") as file:
            return io.BytesIO(file.read())
    except OSError:
        raise
    except Exception as error:  # each protocol has its own
        raise OSError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
