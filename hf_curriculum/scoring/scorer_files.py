"""A fitted scorer as two files: its arrays in safetensors, the rest in JSON; no pickle is written or read."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hf_curriculum._version import __version__
from hf_curriculum.data import require_name
from hf_curriculum.files import appears_whole
from hf_curriculum.scoring.difficulty import KNOTS
from hf_curriculum.scoring.points import Space
from hf_curriculum.scoring.prototypes import Prototypes
from hf_curriculum.scoring.scorer_config import AGAIN, CONFIG, plain_config, plain_index, plain_labels, read_config

TENSORS = "model.safetensors"
OPTIONS = ("n_clusters", "cluster_range", "normalize", "standardize", "l2_normalize", "seed", "repeats", "measure")
"""Arguments of a scorer that are stored."""
Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class StoredScorer:
    """What makes a fitted scorer.

    Attributes:
        options: Its arguments, by the names of :data:`OPTIONS`.
        clusterer: ``repr`` of the estimator that it was given, for the record alone; ``None`` without one.
        prototypes: Of each clustering; of all but the first neither index nor outliers are kept.
        space: In which distances count.
        davies_bouldin_curve: Index by number of clusters.
        chosen_by: Where the number of clusters comes from, in words; ``None`` where that is not known.
        trained_on: Where the embeddings came from; ``None`` where that is not known.
        difficulty_quantiles: How the difficulties of its rows are distributed; ``None`` in older files.
    """

    options: dict[str, Any]
    clusterer: str | None
    prototypes: list[Prototypes]
    space: Space
    davies_bouldin_curve: dict[int, float]
    chosen_by: str | None
    trained_on: dict[str, Any] | None
    difficulty_quantiles: list[float] | None


def write(folder: Path, stored: StoredScorer) -> None:
    """Write both files, over those that are there.

    Args:
        folder: Where they go; exists.
        stored: What they hold.

    Raises:
        ValueError: If they cannot hold it; nothing is touched then.
    """
    config = config_of(stored)
    # The config goes first and comes last, so that a save that broke off is one without a config.
    (folder / CONFIG).unlink(missing_ok=True)
    arrays = _arrays_of(stored)
    config["checksum"] = _checksum(arrays)
    with appears_whole(folder / TENSORS) as file:
        file.write(save(arrays))
    with appears_whole(folder / CONFIG) as file:
        file.write(json.dumps(config, indent=2).encode())


def read(folder: Path) -> StoredScorer:
    """Read both files, and check that they are those of a scorer and agree.

    Args:
        folder: Where they are; other files in it are not opened.

    Returns:
        What :func:`write` took, but for what :class:`StoredScorer` does not keep; further fields are ignored.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or a field or an array is not what it has to be.
    """
    for name in (CONFIG, TENSORS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}, so no scorer is stored there. Check the name; save_pretrained(folder) and "
                "push_to_hub(repo_id) of a fitted scorer store one."
            )
    config = read_config(folder / CONFIG)
    k, dim, knots = sum(config["sizes"]), config["dim"], KNOTS[config["normalize"]]
    shapes = {"centroids": (k, dim), "mean": (dim,), "scale": (dim,), "quantiles": (k, knots)}
    if config["measure"] == "margin":
        shapes["directions"] = dim, dim
    arrays = _read_arrays(folder / TENSORS, shapes)
    if config["checksum"] not in (None, _checksum(arrays)):
        raise ValueError(f"{folder / TENSORS} is damaged: its numbers are not those that were saved. {AGAIN}")
    return _stored(arrays, config)


def locate(source: str | Path, **options: Any) -> Path:
    """The folder of a stored scorer; one of the Hub is downloaded, both files from one commit.

    Args:
        source: A folder, or the id of a model repository.
        **options: ``revision``, ``token``, ``cache_dir``, ``force_download``, ``local_files_only``.

    Returns:
        The folder; other files in it may be those of anything.

    Raises:
        FileNotFoundError: If there is no such folder, and no such repository can be had.
        ValueError: If it can be the name of neither.
    """
    require_name(str(source), "The name of the scorer")
    if os.path.isdir(source):  # unlike Path, it bears any name
        return Path(source)
    try:
        return Path(snapshot_download(str(source), allow_patterns=[CONFIG, TENSORS], **options))
    except (OSError, HFValidationError) as error:
        raise FileNotFoundError(
            f"{str(source)!r} is neither a folder here nor a repository that can be had from the Hub. Check the "
            f"spelling, the revision, the connection and, if it is private, the token. The Hub says: {error}"
        ) from error


def config_of(stored: StoredScorer) -> dict[str, Any]:
    """All of the scorer but its arrays, as ``config.json`` has it.

    Args:
        stored: The scorer.

    Returns:
        The fields that docs/scorer.md lists.

    Raises:
        ValueError: If labels or ``trained_on`` are not what JSON can hold.
    """
    first = stored.prototypes[0]
    labels = [prototypes.labels for prototypes in stored.prototypes if prototypes.labels is not None]
    return plain_config(
        {
            "version": __version__,
            **stored.options,
            "clusterer": stored.clusterer,
            "dim": first.centroids.shape[1],
            "outliers_": first.outliers,
            "davies_bouldin_": plain_index(first.davies_bouldin),
            "davies_bouldin_curve_": {str(k): plain_index(index) for k, index in stored.davies_bouldin_curve.items()},
            "chosen_by_": stored.chosen_by,
            "sizes": [len(prototypes.centroids) for prototypes in stored.prototypes],
            "centroid_labels_": plain_labels(np.concatenate(labels)) if labels else None,
            "trained_on": stored.trained_on,
            "difficulty_quantiles_": stored.difficulty_quantiles,
        }
    )


def _arrays_of(stored: StoredScorer) -> Arrays:
    arrays = {
        "centroids": torch.cat([prototypes.centroids for prototypes in stored.prototypes]).numpy(),
        "mean": stored.space.mean.cpu().numpy(),
        "scale": stored.space.scale.cpu().numpy(),
        "quantiles": np.concatenate([prototypes.quantiles for prototypes in stored.prototypes]),
    }
    if stored.space.directions is not None:
        arrays["directions"] = stored.space.directions.cpu().numpy()
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _checksum(arrays: Arrays) -> str:
    """Of the numbers, which a safetensors file itself does not check."""
    found = xxhash.xxh3_128()
    for name in sorted(arrays):
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()


def _stored(arrays: Arrays, config: Mapping[str, Any]) -> StoredScorer:
    # Cloned, since numpy aligns less: where an array starts can change the last bit of a matrix product.
    tensors = {name: torch.from_numpy(array).clone() for name, array in arrays.items()}
    labels, index, curve = config["centroid_labels_"], config["davies_bouldin_"], config["davies_bouldin_curve_"]
    cuts = np.cumsum(config["sizes"])[:-1]
    parts = zip(
        tensors["centroids"].tensor_split(cuts.tolist()),
        np.split(arrays["quantiles"], cuts),
        [None] * len(config["sizes"]) if labels is None else np.split(np.asarray(labels), cuts),
        strict=True,
    )
    first, *others = (Prototypes(*part) for part in parts)
    first = replace(first, davies_bouldin=None if index is None else float(index), outliers=config["outliers_"])
    options = {name: config[name] for name in OPTIONS}
    if options["cluster_range"] is not None:
        options["cluster_range"] = tuple(options["cluster_range"])
    return StoredScorer(
        options=options,
        clusterer=config["clusterer"],
        prototypes=[first, *others],
        space=Space(tensors["mean"], tensors["scale"], options["l2_normalize"], tensors.get("directions")),
        davies_bouldin_curve={int(k): float(value) for k, value in curve.items()},
        chosen_by=config["chosen_by_"],
        trained_on=config["trained_on"],
        difficulty_quantiles=config["difficulty_quantiles_"],
    )


def _read_arrays(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    try:
        with safe_open(path, framework="numpy") as file:  # refuses a header that does not fit the file
            for name, shape in shapes.items():
                if name not in file.keys():  # noqa: SIM118 - it has no __contains__
                    raise ValueError(f"{path} has no tensor {name!r}. {AGAIN}")
                header = file.get_slice(name)
                found = header.get_dtype(), tuple(header.get_shape())
                if found != ("F32", shape):
                    raise ValueError(
                        f"{path}: tensor {name!r} is {found[0]} of shape {found[1]}, but {CONFIG} (sizes, dim, "
                        f"normalize) asks for F32 of shape {shape}. The files are not of one scorer. {AGAIN}"
                    )
            arrays = {name: file.get_tensor(name) for name in shapes}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({str(error)[:200]!r}). {AGAIN}") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: tensor {name!r} has NaN or infinite numbers. {AGAIN}")
    if not (arrays["scale"] > 0).all():
        raise ValueError(f"{path}: tensor 'scale' must be positive, its lowest is {arrays['scale'].min()}. {AGAIN}")
    if not (np.diff(arrays["quantiles"], axis=1) >= 0).all():
        raise ValueError(f"{path}: tensor 'quantiles' must ascend in each row. {AGAIN}")
    return arrays
