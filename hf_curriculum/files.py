"""Files that are whole or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4


@contextmanager
def appears_whole(path: Path, keep: bool = False) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of ``path`` once all of it is on the disk.

    Until then it stands beside it as ``unfinished-...``, under a name that nobody can foresee; only a killed process
    leaves it there. A link at ``path`` is replaced, not followed; and who reads the old file goes on reading that.

    Args:
        path: Its folder exists.
        keep: Whether a file that is at ``path`` by then stays, and the new one goes. Default ``False``.

    Yields:
        The file, open for bytes.

    Raises:
        OSError: If it cannot be written. Then, as after an error of the caller's, ``path`` is as it was.
    """
    unfinished = path.with_name(f"unfinished-{uuid4().hex}{path.suffix}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if keep and path.exists():
            unfinished.unlink()
        else:
            unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
