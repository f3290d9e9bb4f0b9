"""score_parquet: add_difficulty for Parquet that does not pass one machine, by actors of Ray."""

import json
import logging
import operator
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset, Features
from datasets.fingerprint import Hasher
from numpy.typing import NDArray

from hf_curriculum._version import __version__
from hf_curriculum.data import (
    EMBEDDING,
    SCORES,
    SUGGESTED_LABEL,
    difficulty_quantiles,
    provenance,
    read_labels,
    require_column,
    without_folders,
)
from hf_curriculum.embedding import FULL, Embedder
from hf_curriculum.encoders import public_id
from hf_curriculum.processes import this_process
from hf_curriculum.scoring.difficulty import Ranges
from hf_curriculum.scoring.inputs import require_classes
from hf_curriculum.scoring.parquet_input import ParquetInput, Paths
from hf_curriculum.scoring.parquet_output import ParquetOutput
from hf_curriculum.scoring.parquet_work import (
    ROW,
    Classes,
    CountClasses,
    Draw,
    Duplicates,
    Embed,
    Measure,
    Score,
)
from hf_curriculum.scoring.points import Points
from hf_curriculum.scoring.ray_pool import RayPool, ray_started
from hf_curriculum.scoring.score import check_encoder, default_measure, require_default
from hf_curriculum.scoring.scorer import DifficultyScorer
from hf_curriculum.scoring.scorer_files import OPTIONS

logger = logging.getLogger(__name__)
_A_CLUSTER = 256  # rows of the sample: more do not make the prototypes better (docs/scale.md)
_CLUSTERS = 256  # for which the sample is large enough where their number is to be chosen
_IDS_AT_ONCE = 16 * 2**20


def score_parquet(
    input: Paths,
    output: str | Path,
    model_id: str | Callable[..., Any],
    *,
    scorer: DifficultyScorer | str | Path | None = None,
    id_column: str | None = None,
    keep_embeddings: bool = True,
    concurrency: int | None = None,
    sample_rows: int | None = None,
    n_clusters: int | None = None,
    cluster_range: tuple[int, int] | None = None,
    label_column: str | None = None,
    normalize: str | None = "minmax",
    seed: int = 42,
    measure: str | None = None,
    **embedding_options: Any,
) -> DifficultyScorer:
    """Score Parquet files of any size on the machines of a Ray cluster, or on this one; needs the extra ``ray``.

    All rows are embedded; a scorer is fitted on a sample of them, and learns the range of each cluster from all; then
    all rows are scored, and written. What is finished is kept: after a kill, a full disk or a bad row the same call
    goes on, and no row is lost or there twice. A Ray that runs already is used; else one is started, and shut down.

    Args:
        input: Parquet file, folder, glob, or a list of these; local or a URL that fsspec knows, such as ``s3://`` or
            ``hf://``. All files have the same columns.
        output: Folder for the scored files, local (then the same on all machines) or a URL; the scorer lies beside
            them in ``scorer``.
        model_id: What embeds the rows, see :func:`hf_curriculum.add_embeddings`; each machine can load it.
        scorer: A fitted scorer, its folder or repository: rows are scored against its prototypes and ranges. One that
            is not fitted brings its options, and stays as it is. Default a new one of ``n_clusters``,
            ``cluster_range``, ``normalize``, ``seed`` and ``measure``.
        id_column: Column that names the rows, each differently. Default ``None``: the rows get their number in the
            input as column ``"row"``.
        keep_embeddings: Whether the vectors are written, too. Default ``True``.
        concurrency: Number of actors that embed. Default one a GPU or, without any, one a CPU of the cluster.
        sample_rows: Rows that the scorer is fitted on. Default 256 for each cluster that may be asked for, 65,536 at
            least; all, if there are not more. Not beside a fitted scorer.
        n_clusters: Number of clusters, with ``label_column`` of each class. ``None`` is one a class with
            ``measure="margin"``; else it is chosen by the Davies-Bouldin index of the sample.
        cluster_range: Inclusive range of the numbers to try.
        label_column: Classes of the rows, which are clustered inside each; rows without one are left without a score.
        normalize: ``"minmax"`` (default), ``"rank"`` (inner quantiles are those of the sample) or ``None``.
        seed: Seed of sample and k-means. Default 42.
        measure: ``"distance"`` (default without ``label_column``) or ``"margin"`` (default with it), as of
            :func:`hf_curriculum.add_difficulty`.
        **embedding_options: Further options of :class:`hf_curriculum.Embedder`, such as ``input_column``, ``on_error``
            or ``batch_size``.

    Returns:
        The scorer. ``add_difficulty(dataset, model_id, scorer=scorer)`` gives the same numbers on one machine.

    Raises:
        TypeError: For an unknown option, or one beside ``scorer``.
        ModuleNotFoundError: If Ray, or what fsspec needs for a store, is not installed.
        ValueError: If there is no Parquet, the files differ in their columns, a column is missing or of a wrong type,
            ids are not unique, a row cannot be embedded (``on_error="raise"``), or the output holds something else or
            was begun with other arguments.
        OSError: If a store refuses, or a disk is full.
        RuntimeError: If actors fail again and again, or under ``accelerate launch``.
    """
    if this_process().num_processes > 1:
        raise RuntimeError("score_parquet starts its processes by Ray: call it with python, not accelerate launch.")
    if "output_column" in embedding_options:
        raise TypeError(f"Vectors go to column {EMBEDDING!r}: leave output_column out.")
    for name, value in (("concurrency", concurrency), ("sample_rows", sample_rows)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    if scorer is None:
        measure = default_measure(label_column) if measure is None else measure
        scorer = DifficultyScorer(n_clusters, cluster_range, normalize, seed=seed, measure=measure)
    else:
        require_default((n_clusters, cluster_range, normalize, seed, measure))
        scorer = _opened(scorer)
        if scorer.is_fitted and sample_rows is not None:
            raise ValueError(f"sample_rows={sample_rows}: a fitted scorer is not fitted again, leave it out.")
    source = ParquetInput.of(input, output)
    job = _Job(
        source,
        ParquetOutput(output, len(source.parts)),
        Embedder(model_id, **embedding_options),
        scorer,
        id_column,
        label_column,
        keep_embeddings,
    )
    job.check()
    job.output.begin(
        {
            "input": f"{len(source):,} rows in {len(source.stamps):,} files, {_hash(str(source.stamps).encode())}",
            "model": public_id(model_id) if isinstance(model_id, str) else type(model_id).__qualname__,
            "embedding": _embedding(model_id, embedding_options),
            "on_error": embedding_options.get("on_error", "raise"),
            "scorer": _description(scorer),
            "id_column": id_column,
            "label_column": label_column,
            "keep_embeddings": keep_embeddings,
            "sample_rows": sample_rows,
            "version": __version__,
        }
    )
    if len(job.output.finished()) < len(source.parts):
        with job.room_explained(), ray_started():
            job.run(concurrency, sample_rows)
    return job.end()


@dataclass
class _Job:
    """Input, output and what lies between."""

    source: ParquetInput
    output: ParquetOutput
    embedder: Embedder
    scorer: DifficultyScorer
    id_column: str | None
    label_column: str | None
    keep_embeddings: bool

    def check(self) -> None:
        """Raise a ``ValueError`` for what cannot go well, before anything is written."""
        schema = self.source.schema
        self.embedder.column(Features.from_arrow_schema(schema))
        for column in (self.id_column, self.label_column):
            if column is not None:
                require_column(schema.names, column)
        if self.label_column is not None:
            read_labels(Dataset(schema.empty_table().select([self.label_column])), self.label_column)
        if self.id_column is None and ROW in schema.names:
            raise ValueError(
                f"The input has a column {ROW!r}, which is where the number of a row goes. Pass id_column={ROW!r} if "
                "it names the rows, or another column that does."
            )
        ours = {*SCORES, SUGGESTED_LABEL} & {self.id_column, self.label_column}
        if ours:
            raise ValueError(f"Column {ours.pop()!r} is one that is written: it cannot name rows or classes.")
        if self.scorer.measure == "margin" and self.label_column is None:
            require_classes(None)
        if not self.scorer.is_fitted:
            self.scorer.check_rows(len(self.source))
        elif (self.label_column is None) != (self.scorer.centroid_labels_ is None):
            self.scorer.check_labels(None if self.label_column is None else np.empty(0, int))

    def run(self, actors: int | None, sample_rows: int | None) -> None:
        """Do what is not done yet."""
        with RayPool(actors) as pool:
            counts = self._prepare(pool)
            self._embed(pool)
            if not pool.accelerated:
                return self._score(pool, counts, sample_rows)
        with RayPool(accelerated=False) as pool:
            self._score(pool, counts, sample_rows)

    def _prepare(self, pool: RayPool) -> dict[int, Classes]:
        """Check the ids of the rows, count those of each class in each part."""
        parts, schema, output = self.source.parts, self.source.schema, self.output
        if self.id_column is not None and not (output.finished() or output.embedded()):
            shares = -(-len(self.source) // _IDS_AT_ONCE)
            pool.all(Duplicates(parts, schema, self.id_column, shares), range(shares), "Checking ids")
        if self.label_column is None:
            return {part.number: {None: len(part)} for part in parts}
        if output.has_scorer:
            return {}
        counts = dict(pool.each(CountClasses(schema, self.label_column), parts, "Counting classes"))
        if not any(counts.values()):
            raise ValueError(f"Label column {self.label_column!r} is null in all rows.")
        if self.scorer.is_fitted:
            self.scorer.check_labels(np.array([*reduce(operator.or_, counts.values())]))
        return counts

    def _embed(self, pool: RayPool) -> None:
        done = self.output.finished() | self.output.embedded()
        todo = [part for part in self.source.parts if part.number not in done]
        for place, _ in enumerate(pool.each(Embed(self.embedder, self.source.schema, self.output), todo, "Embedding")):
            if place == 0 and self.scorer.is_fitted:  # before all the others are embedded in vain
                check_encoder(self.scorer.trained_on_, self._encoder()[1])

    def _score(self, pool: RayPool, counts: dict[int, Classes], sample_rows: int | None) -> None:
        feature, record = self._encoder()
        if feature is None:
            column = self.embedder.column(Features.from_arrow_schema(self.source.schema))
            raise ValueError(f"No row of column {column!r} can be embedded; on_error='raise' says why.")
        if not self.output.has_scorer:
            if self.scorer.is_fitted:
                check_encoder(self.scorer.trained_on_, record)
            else:
                self._fit(pool, record, counts, sample_rows)
            self.output.save_scorer(self.scorer)
        scorer, done = self.output.load_scorer(), self.output.finished()
        numbered = self.id_column is None
        work = Score(
            self.source.schema, self.label_column, self.output, scorer, feature, record, numbered, self.keep_embeddings
        )
        pool.all(work, [part for part in self.source.parts if part.number not in done], "Scoring")

    def end(self) -> DifficultyScorer:
        """Count what is written, sweep, and hand out the scorer."""
        rows, without = self.output.count()
        if rows != len(self.source):
            raise RuntimeError(f"{rows} rows were written of {len(self.source)}; please report this.")
        if without:
            what = "embedding" if self.label_column is None else "embedding or no label"
            logger.warning("%d of %d rows have no %s, and so no difficulty.", without, rows, what)
        self.output.sweep()
        return self.output.load_scorer()

    @contextmanager
    def room_explained(self) -> Iterator[None]:
        """Say what is kept where a disk is full."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            embedded, done, every = len(self.output.embedded()), len(self.output.finished()), len(self.source.parts)
            raise OSError(
                error.errno,
                f"The disk of {self.output.folder} is full. {embedded} of {every} parts are embedded and {done} "
                "scored, and kept: make room and call again",
            ) from error

    def _encoder(self) -> tuple[Any, dict[str, Any]]:
        """Feature and provenance of the vectors, from the first part that has any; ``None`` and none if none has."""
        for number in sorted(self.output.embedded()):
            schema = self.output.vectors_schema(number)
            if not pa.types.is_null(schema.field(EMBEDDING).type):
                known = Dataset(schema.empty_table())
                return known.features[EMBEDDING], provenance(known, EMBEDDING)
        return None, {}

    def _fit(self, pool: RayPool, record: dict[str, Any], counts: dict[int, Classes], size: int | None) -> None:
        """Fit the scorer on a sample, and give it the ranges of all rows."""
        parts = self.source.parts
        total: Counter[Any] = sum(map(Counter, counts.values()), Counter())
        size = size or max(_CLUSTERS, _most_clusters(self.scorer) * len(total)) * _A_CLUSTER
        wanted = _allot(counts, total, size, self.scorer.seed)
        work = Draw(self.source.schema, self.label_column, self.output, self.scorer.seed)
        items = [(part, wanted[part.number]) for part in parts if wanted[part.number]]
        found = sorted(pool.each(work, items, "Drawing the sample"), key=lambda found: found[0])
        drawn = [(vectors, labels) for _, vectors, labels in found if len(vectors)]
        labels = None if self.label_column is None else np.concatenate([labels for _, labels in drawn])
        points = Points.of([vectors for vectors, _ in drawn])
        self.scorer.fit(points, labels, record)
        if size >= len(self.source):
            return
        if self.scorer.normalize is not None:
            measure = Measure(self.source.schema, self.label_column, self.output, self.scorer)
            ranges: list[Ranges] | None = None
            for found in filter(None, pool.each(measure, parts, "Measuring the ranges")):
                ranges = found if ranges is None else [a.merged(b) for a, b in zip(ranges, found, strict=True)]
            assert ranges is not None
            self.scorer.prototypes_ = [
                replace(prototypes, quantiles=of_all.stretch(prototypes.quantiles))
                for prototypes, of_all in zip(self.scorer.prototypes_, ranges, strict=True)
            ]
        difficulty = self.scorer.score(points, labels).difficulty
        alike = slice(None) if labels is None else _in_proportion(labels, total, self.scorer.seed)
        self.scorer.quantiles_ = difficulty_quantiles(difficulty[alike])


def _opened(scorer: DifficultyScorer | str | Path) -> DifficultyScorer:
    if not isinstance(scorer, DifficultyScorer):
        return DifficultyScorer.from_pretrained(scorer)
    return copy(scorer)  # fitted here, the caller's own would be another one in a second call


def _most_clusters(scorer: DifficultyScorer) -> int:
    """Clusters, of a class, that may be asked for."""
    if scorer.n_clusters is not None:
        return scorer.n_clusters
    return scorer.cluster_range[1] if scorer.cluster_range else getattr(scorer.clusterer, "n_clusters", 1)


def _allot(counts: dict[int, Classes], total: Counter[Any], size: int, seed: int) -> dict[int, Classes]:
    """How many rows of each class come from each part, as if ``size`` rows were drawn from all.

    A class has its share, but no less than what it would have if all had the same.
    """
    rng, rows = np.random.default_rng(seed), total.total()
    wanted: dict[int, Classes] = {number: {} for number in counts}
    for label in sorted(total):
        of_class = min(total[label], max(-(-size * total[label] // rows), -(-size // len(total))))
        ends = np.cumsum([classes.get(label, 0) for classes in counts.values()])
        drawn = rng.choice(total[label], of_class, replace=False, shuffle=False)
        by_part = np.bincount(np.searchsorted(ends, drawn, side="right"), minlength=len(counts))
        for number, found in zip(counts, by_part.tolist(), strict=True):
            if found:
                wanted[number][label] = found
    return wanted


def _in_proportion(labels: NDArray[Any], total: Counter[Any], seed: int) -> NDArray[np.bool_]:
    """Rows of the sample of which each class has the share that it has of all rows."""
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    weight = np.array([total[label] for label in classes.tolist()]) / counts
    kept: NDArray[np.bool_] = np.random.default_rng(seed).random(labels.size) * weight.max() < weight[inverse]
    return kept


def _embedding(model_id: Any, options: dict[str, Any]) -> str:
    """What decides the vectors; neither what happens to bad rows, nor how many rows run at once."""
    decisive = {name: value for name, value in options.items() if name not in ("on_error", "batch_size")}
    shown = {name: value for name, value in decisive.items() if isinstance(value, str | int | float | None)}
    state = Embedder(model_id, **decisive).__getstate__()
    if isinstance(model_id, str):
        state["model_id"] = public_id(model_id)  # its weights are told apart; they may have moved to another folder
    return f"{json.dumps(shown, sort_keys=True)} {Hasher.hash(state)}"


def _description(scorer: DifficultyScorer) -> str:
    """Options of a scorer that will be fitted, content of one that is."""
    options = {name: getattr(scorer, name) for name in OPTIONS}
    if scorer.clusterer is not None:
        options["clusterer"] = without_folders(repr(scorer.clusterer))
    text = json.dumps(options)
    if not scorer.is_fitted:
        return text
    with tempfile.TemporaryDirectory() as folder:
        scorer.save_pretrained(folder)
        content = [(Path(folder) / name).read_bytes() for name in ("config.json", "model.safetensors")]
    return f"{text}, fitted, {_hash(b''.join(content))}"


def _hash(content: bytes) -> str:
    return xxhash.xxh3_128(content).hexdigest()
