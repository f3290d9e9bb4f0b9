"""What is done with a part of the input, wherever it is done: embed, count, sample, measure, score."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset, Features, Value
from numpy.typing import NDArray

from hf_curriculum.data import EMBEDDING, SUGGESTED_LABEL, read_embeddings, read_labels, score_features
from hf_curriculum.embedding import Embedder
from hf_curriculum.scoring.difficulty import Ranges
from hf_curriculum.scoring.margin import margin_ranges
from hf_curriculum.scoring.parquet_input import WINDOW, Part, read_part
from hf_curriculum.scoring.parquet_output import ParquetOutput
from hf_curriculum.scoring.points import Points
from hf_curriculum.scoring.score import score_columns
from hf_curriculum.scoring.scorer import DifficultyScorer
from hf_curriculum.scoring.scores import Scores

ROW = "row"
"""Column of the row's number in the input, where no column of the input names its rows."""
_SEED = 1  # of the sample, beside that of the scorer
Classes = dict[Any, int]
"""Rows of each class; of the class ``None`` where there are no labels."""


class Embed:
    """Writes the vectors of a part, made in the windows of :func:`hf_curriculum.add_embeddings`, and so equal to its.

    Args:
        embedder: Makes vectors.
        schema: Of the input.
        output: Where they go.
    """

    def __init__(self, embedder: Embedder, schema: pa.Schema, output: ParquetOutput) -> None:
        self.embedder = embedder
        self.schema = schema
        self.output = output
        self.features: Features | None = None

    def __call__(self, part: Part) -> int:
        """Number of the part, whose vectors are there then.

        Raises:
            ValueError: If a row cannot be embedded, and this is not allowed; it is named.
        """
        if not self.output.is_embedded(part.number):
            features = Features.from_arrow_schema(self.schema)
            rows = read_part(part, self.schema, [self.embedder.column(features)])
            vectors = self._vectors(rows, part.first, self.embedder.window(Features.from_arrow_schema(rows.schema)))
            if self.features is None and vectors.null_count < len(vectors):
                known = Dataset(rows.filter(vectors.is_valid()).slice(0, 1))
                made = self.embedder.features(known)
                self.features = Features({EMBEDDING: made[self.embedder.output_column]})
            table = pa.table({EMBEDDING: vectors})
            self.output.write_vectors(
                part.number, table if self.features is None else table.cast(self.features.arrow_schema)
            )
        return part.number

    def _vectors(self, rows: pa.Table, first: int, window: int) -> pa.ChunkedArray:
        found: list[pa.ChunkedArray] = []
        for block in range(0, len(rows), WINDOW):
            stop = min(block + WINDOW, len(rows))
            for start in range(block, stop, window):
                some = rows.slice(start, min(window, stop - start))
                embedded = self.embedder(some, range(first + start, first + start + len(some)))
                found.append(embedded[self.embedder.output_column])
        kinds = [array.type for array in found if not pa.types.is_null(array.type)]
        kind = kinds[0] if kinds else pa.null()
        chunks = [
            chunk if chunk.type == kind else pa.nulls(len(chunk), kind) for array in found for chunk in array.chunks
        ]
        return pa.chunked_array(chunks, kind)


@dataclass(frozen=True)
class Duplicates:
    """Looks for ids that stand in two rows; each call looks at a share of the ids, so that memory stays flat.

    Attributes:
        parts: Of the input.
        schema: Of the input.
        column: Column of the ids.
        shares: Number of shares.
    """

    parts: list[Part]
    schema: pa.Schema
    column: str
    shares: int

    def __call__(self, share: int) -> None:
        """Look at one share.

        Raises:
            ValueError: If an id is null, or stands in several rows.
        """
        found = []
        for part in self.parts:
            ids = read_part(part, self.schema, [self.column])[self.column].combine_chunks()
            if ids.null_count:
                row = part.first + int(np.argmax(ids.is_null().to_numpy(zero_copy_only=False)))
                raise ValueError(f"Id column {self.column!r} is null in row {row}.")
            if self.shares > 1:
                mine = pd.util.hash_array(ids.to_numpy(zero_copy_only=False)) % self.shares == share
                ids = ids.filter(pa.array(mine))
            found.append(ids)
        counts = pc.value_counts(pa.chunked_array(found))
        twice = counts.filter(pc.greater(counts.field("counts"), 1))
        if len(twice):
            one = twice[0].as_py()
            raise ValueError(
                f"Id column {self.column!r} has {one['values']!r} in {one['counts']} rows ({len(twice)} such ids in "
                f"share {share + 1} of {self.shares}). Drop the doubles, or leave id_column out."
            )


@dataclass(frozen=True)
class CountClasses:
    """Counts the rows of each class.

    Attributes:
        schema: Of the input.
        column: Column of the labels.
    """

    schema: pa.Schema
    column: str

    def __call__(self, part: Part) -> tuple[int, Classes]:
        """Number of the part, and its rows by class.

        Raises:
            ValueError: If labels are neither integers nor strings.
        """
        labels = _labels_of(part, self.schema, self.column)
        classes, counts = np.unique(np.ma.compressed(labels), return_counts=True)
        return part.number, dict(zip(classes.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Draw:
    """Draws rows for the fit.

    Attributes:
        schema: Of the input.
        column: Column of the labels; ``None`` for none.
        output: Where the vectors are.
        seed: Of the choice.
    """

    schema: pa.Schema
    column: str | None
    output: ParquetOutput
    seed: int

    def __call__(self, wanted: tuple[Part, Classes]) -> tuple[int, NDArray[np.float32], NDArray[Any] | None]:
        """Part, vectors and labels of so many rows of each class; of fewer where rows have no vector."""
        part, classes = wanted
        table = self.output.read_vectors(part.number)
        has_vector = table[EMBEDDING].is_valid().to_numpy()
        labels = None if self.column is None else _labels_of(part, self.schema, self.column)
        rng = np.random.default_rng([self.seed, _SEED, part.number])
        drawn = []
        for label, size in classes.items():
            rows = np.arange(len(table)) if labels is None else np.flatnonzero(np.ma.filled(labels == label, False))
            drawn.append(rng.choice(rows, size, replace=False, shuffle=False))
        chosen = np.sort(np.concatenate(drawn))
        chosen = chosen[has_vector[chosen]]
        classes_of = None if labels is None else np.ma.getdata(labels)[chosen]
        if not chosen.size:
            return part.number, np.empty((0, 0), np.float32), classes_of
        blocks, _ = read_embeddings(Dataset(table.take(chosen)), EMBEDDING)
        return part.number, np.concatenate(blocks), classes_of


@dataclass(frozen=True)
class Measure:
    """Takes the ranges of all rows of a part around the prototypes of a scorer.

    Attributes:
        schema: Of the input.
        column: Column of the labels; ``None`` for none.
        output: Where the vectors are.
        scorer: Fitted on a sample.
    """

    schema: pa.Schema
    column: str | None
    output: ParquetOutput
    scorer: DifficultyScorer

    def __call__(self, part: Part) -> list[Ranges] | None:
        """Ranges for each clustering of the scorer; ``None`` for a part without a row that can be scored."""
        labels = None if self.column is None else _labels_of(part, self.schema, self.column)
        points, classes, _ = _scorable(self.output.read_vectors(part.number), labels)
        if points is None:
            return None
        points = points.inside(self.scorer.space_)
        if self.scorer.measure == "margin":
            assert classes is not None
            return [margin_ranges(prototypes, points, classes) for prototypes in self.scorer.prototypes_]
        return [prototypes.ranges(points, classes) for prototypes in self.scorer.prototypes_]


@dataclass(frozen=True)
class Score:
    """Writes a part with its scores, the easiest row first, rows without a score last.

    Attributes:
        schema: Of the input.
        column: Column of the labels; ``None`` for none.
        output: Where the part goes.
        scorer: Scores.
        encoder: Feature of the vectors.
        record: Provenance of the vectors.
        numbered: Whether the rows get their number as a column.
        keep_embeddings: Whether the vectors stay.
    """

    schema: pa.Schema
    column: str | None
    output: ParquetOutput
    scorer: DifficultyScorer
    encoder: Any
    record: Mapping[str, Any]
    numbered: bool
    keep_embeddings: bool

    def __call__(self, part: Part) -> int:
        """Number of the part, which is written then."""
        if self.output.is_finished(part.number):
            return part.number
        vectors = self.output.read_vectors(part.number)
        rows = read_part(part, self.schema)
        labels = None if self.column is None else _rows_labels(rows, self.column)
        points, classes, present = _scorable(vectors, labels)
        if points is None:
            none = np.empty(0, np.float32)
            scores = Scores(none.astype(np.int32), none, none, 0, classes if self.scorer.measure == "margin" else None)
        else:
            scores = self.scorer.score(points, classes)
        columns: dict[str, Any] = {}
        features: dict[str, Any] = {}
        if self.numbered:
            columns[ROW], features[ROW] = pa.array(np.arange(part.first, part.first + len(part))), Value("int64")
        if self.keep_embeddings:
            columns[EMBEDDING], features[EMBEDDING] = vectors[EMBEDDING], self.encoder
        columns |= score_columns(scores, present)
        features |= score_features(self.scorer.record(self.record, self.column))
        if scores.suggested_label is not None:
            features[SUGGESTED_LABEL] = Features.from_arrow_schema(self.schema)[self.column]
        self.output.write(part.number, _appended(rows, columns, Features(features)))
        return part.number


def _labels_of(part: Part, schema: pa.Schema, column: str) -> NDArray[Any]:
    """The class of each row of a part, masked where it is null."""
    return _rows_labels(read_part(part, schema, [column]), column)


def _rows_labels(rows: pa.Table, column: str) -> NDArray[Any]:
    if rows[column].null_count == len(rows):  # as it may be in a part, though not in all
        return np.ma.masked_array(np.zeros(len(rows), int), mask=True)
    return read_labels(Dataset(rows.select([column])), column)


def _scorable(
    vectors: pa.Table, labels: NDArray[Any] | None
) -> tuple[Points | None, NDArray[Any] | None, NDArray[np.bool_]]:
    """The rows of a part that have a vector and, of classes, one; their classes; and which rows they are."""
    present = vectors[EMBEDDING].is_valid().to_numpy()
    if labels is not None:
        present = present & ~np.ma.getmaskarray(labels)
        labels = np.ma.getdata(labels)[present]
    if not present.any():
        return None, labels, present
    blocks, _ = read_embeddings(Dataset(vectors if present.all() else vectors.filter(pa.array(present))), EMBEDDING)
    # On the CPU, where distances are the same on each machine.
    return replace(Points.of(blocks), device=torch.device("cpu")), labels, present


def _appended(rows: pa.Table, columns: Mapping[str, Any], features: Features) -> pa.Table:
    """The rows with further columns; those there are stay as they are, bytes and types."""
    kept = rows.drop_columns([name for name in columns if name in rows.column_names])
    added = pa.table(dict(columns)).cast(features.arrow_schema)
    every = Features({**Features.from_arrow_schema(kept.schema), **features})
    table = kept
    for field in added.schema:
        table = table.append_column(field, added[field.name])
    return table.replace_schema_metadata({**(rows.schema.metadata or {}), **every.arrow_schema.metadata})
