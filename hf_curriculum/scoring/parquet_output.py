"""The folder that scored Parquet goes to: finished parts, the scorer, and the job that wrote them."""

import io
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from hf_curriculum.data import DIFFICULTY, write_sorted
from hf_curriculum.files import appears_whole
from hf_curriculum.scoring.parquet_input import FOOTERS_AT_ONCE, store_explained
from hf_curriculum.scoring.scorer import DifficultyScorer

SCORER = "scorer"
_JOB = ".job"  # hidden, as readers of folders skip what begins with a dot
_ARGUMENTS = f"{_JOB}/arguments.json"
_VECTORS = f"{_JOB}/vectors"


class ParquetOutput:
    """A folder, local or of a store that fsspec knows. Pickles, and is the same folder elsewhere.

    A file appears under its name once it is whole: a local one by renaming, one of a store since it is put there in
    one piece. So the names that are there tell what is finished, whoever was killed. A part that is finished twice, by
    an actor that outlives its driver and by that of the next one, is not written again.

    Args:
        folder: Path or URL.
        parts: Number of parts that the input has.
    """

    def __init__(self, folder: str | Path, parts: int) -> None:
        self.folder = str(folder)
        self.parts = parts
        with store_explained(self.folder, "written"):
            self._fs, self._root = url_to_fs(self.folder)

    def __reduce__(self) -> Any:
        elsewhere = self._root if isinstance(self._fs, LocalFileSystem) else self.folder  # a path may be relative
        return type(self), (elsewhere, self.parts)

    def begin(self, arguments: Mapping[str, Any]) -> None:
        """Take the folder for a job, or go on with the same job.

        Args:
            arguments: All that decides what is written; JSON.

        Raises:
            ValueError: If something else is in the folder, or the arguments are others.
            OSError: If it cannot be written to.
        """
        with store_explained(self.folder, "written"):
            self._begin(arguments)

    def _begin(self, arguments: Mapping[str, Any]) -> None:
        if self._fs.isfile(self._root):
            raise ValueError(f"The output {self.folder} is a file; name a folder.")
        path = self._path(_ARGUMENTS)
        if not self._fs.exists(path):
            there = [name.rsplit("/", 1)[-1] for name in self._list("")]
            if set(there) - {_JOB}:
                raise ValueError(
                    f"The output {self.folder} holds something else already ({', '.join(sorted(there)[:5])}); name "
                    "a new folder."
                )
            for folder in ("", _JOB, _VECTORS):
                self._fs.makedirs(self._path(folder), exist_ok=True)
        elif self.embedded() or self.finished() or self.has_scorer:  # a call that came to nothing binds nobody
            _require_same(json.loads(self._fs.cat_file(path)), arguments, self.folder)
        with self._appears_whole(_ARGUMENTS) as file:
            file.write(json.dumps(arguments, indent=2).encode())

    def finished(self) -> set[int]:
        """Numbers of the parts that are scored."""
        return self._numbers("", rf"part-(\d+)-of-{self.parts:06d}\.parquet")

    def embedded(self) -> set[int]:
        """Numbers of the parts whose vectors are there."""
        return self._numbers(_VECTORS, r"(\d+)\.parquet")

    def is_finished(self, number: int) -> bool:
        """Whether a part is scored."""
        return self._fs.exists(self._path(self._name(number)))

    def is_embedded(self, number: int) -> bool:
        """Whether the vectors of a part are there."""
        return self._fs.exists(self._path(f"{_VECTORS}/{number:06d}.parquet"))

    @property
    def has_scorer(self) -> bool:
        """Whether the scorer is there, whole."""
        return self._fs.exists(self._path(f"{SCORER}/config.json"))

    def write_vectors(self, number: int, table: pa.Table) -> None:
        """Keep the vectors of a part until it is scored.

        Args:
            number: Of the part.
            table: Its vectors.

        Raises:
            OSError: If the disk is full, or the store refuses.
        """
        with self._appears_whole(f"{_VECTORS}/{number:06d}.parquet", keep=True) as file:
            pq.write_table(table, file, compression="none", use_dictionary=False)  # such numbers do not shrink

    def read_vectors(self, number: int) -> pa.Table:
        """The vectors of a part."""
        with self._fs.open(self._path(f"{_VECTORS}/{number:06d}.parquet"), "rb") as file:
            return pq.ParquetFile(file).read(use_threads=False)

    def vectors_schema(self, number: int) -> pa.Schema:
        """Their schema, which has the provenance."""
        with self._fs.open(self._path(f"{_VECTORS}/{number:06d}.parquet"), "rb") as file:
            return pq.read_schema(file)

    def write(self, number: int, table: pa.Table) -> None:
        """Write a scored part, the easiest row first, so that a reader can leave out what it does not want.

        Args:
            number: Of the part.
            table: Its rows, in any order.

        Raises:
            OSError: If the disk is full, or the store refuses.
        """
        with self._appears_whole(self._name(number), keep=True) as file:
            write_sorted(table, file)

    def count(self) -> tuple[int, int]:
        """Rows of all finished parts, and those of them without a difficulty; from the footers."""

        def of(number: int) -> tuple[int, int]:
            with self._fs.open(self._path(self._name(number)), "rb") as file:
                metadata = pq.read_metadata(file)
            place = [metadata.schema.column(i).path for i in range(metadata.num_columns)].index(DIFFICULTY)
            difficulties = [metadata.row_group(i).column(place) for i in range(metadata.num_row_groups)]
            return metadata.num_rows, sum(column.statistics.null_count for column in difficulties)

        with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
            counts = list(pool.map(of, range(self.parts)))
        return sum(rows for rows, _ in counts), sum(nulls for _, nulls in counts)

    def save_scorer(self, scorer: DifficultyScorer) -> None:
        """Lay a scorer beside the parts; its config comes last, and tells that it is whole."""
        with tempfile.TemporaryDirectory() as folder:
            scorer.save_pretrained(folder)
            self._fs.makedirs(self._path(SCORER), exist_ok=True)
            for name in ("README.md", "model.safetensors", "config.json"):
                with self._appears_whole(f"{SCORER}/{name}") as file:
                    file.write((Path(folder) / name).read_bytes())

    def load_scorer(self) -> DifficultyScorer:
        """The scorer that is there."""
        with tempfile.TemporaryDirectory() as folder:
            for name in ("model.safetensors", "config.json"):
                (Path(folder) / name).write_bytes(self._fs.cat_file(self._path(f"{SCORER}/{name}")))
            return DifficultyScorer.from_pretrained(folder)

    def sweep(self) -> None:
        """Once all parts are scored, remove the vectors, and what killed calls left unfinished."""
        if self._fs.exists(self._path(_VECTORS)):
            self._fs.rm(self._path(_VECTORS), recursive=True)
        for folder in ("", _JOB, SCORER):
            for path in self._list(folder):
                if path.rsplit("/", 1)[-1].startswith("unfinished-"):
                    self._fs.rm(path)

    def _name(self, number: int) -> str:
        return f"part-{number:06d}-of-{self.parts:06d}.parquet"

    def _numbers(self, folder: str, pattern: str) -> set[int]:
        found = (re.fullmatch(pattern, path.rsplit("/", 1)[-1]) for path in self._list(folder))
        return {int(match[1]) for match in found if match}

    def _list(self, folder: str) -> list[str]:
        self._fs.invalidate_cache()
        path = self._path(folder)
        return self._fs.ls(path, detail=False) if self._fs.isdir(path) else []

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}" if name else self._root

    @contextmanager
    def _appears_whole(self, name: str, keep: bool = False) -> Iterator[IO[bytes]]:
        if isinstance(self._fs, LocalFileSystem):
            with appears_whole(Path(self._path(name)), keep) as file:
                yield file
        else:
            buffer = io.BytesIO()
            yield buffer
            if not (keep and self._fs.exists(self._path(name))):
                self._fs.pipe_file(self._path(name), buffer.getvalue())


def _require_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: str) -> None:
    differing = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and (name, now.get(name)) != ("on_error", "null")
    ]
    if differing:
        raise ValueError(
            f"The output {folder} was begun with other arguments: {'; '.join(differing)}. Call with those again to "
            "go on, or name a new folder."
        )
