"""Work on parts, by actors and tasks of Ray Data."""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import numpy as np
from datasets import are_progress_bars_disabled

from hf_curriculum._optional import require_extra

_DEATHS = 8  # of an actor on one part, before the part is taken for their cause
Item = TypeVar("Item")


@contextmanager
def ray_started() -> Iterator[None]:
    """Ray: the one that runs already, of this process, of ``RAY_ADDRESS`` or of this machine; else one of our own.

    Ours has no dashboard and sends no telemetry, and is shut down at the end, as after an error.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning of what will change
    require_extra("ray.data", extra="ray", purpose="score_parquet")
    import ray

    level = logging.getLogger("ray.data").level
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    context = ray.data.DataContext.get_current()
    bars = context.enable_progress_bars
    context.enable_progress_bars = bars and not are_progress_bars_disabled()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger("ray.data").setLevel(level)
        context.enable_progress_bars = bars
        if started:
            ray.shutdown()


def each(work: Callable[[Item], Any], items: Sequence[Item], actors: int | None = None) -> Iterator[Any]:
    """What ``work`` makes of each item, as they are finished.

    Args:
        work: Pickles; what it has loaded it keeps for the next item, if actors do it.
        items: Pickle, and are small.
        actors: Number of actors, which share the GPUs that there are. Default ``None``: tasks, one a CPU.

    Yields:
        One result an item, which pickles.

    Raises:
        Exception: The first that ``work`` raises, as it is.
        RuntimeError: If actors die again and again on one item.
    """
    import ray
    from ray.exceptions import RayError

    sent = ray.put(ray.cloudpickle.dumps(work))
    rows = [{"item": ray.cloudpickle.dumps(item)} for item in items]
    options: dict[str, Any] = {"batch_size": 1, "batch_format": "numpy", "num_cpus": 1}
    function: Any = _call
    if actors is None:
        options["fn_args"] = (sent,)
    else:
        function = Actor
        resources = ray.cluster_resources()
        options |= {
            "fn_constructor_args": (sent,),
            "concurrency": actors,
            "num_cpus": min(1.0, resources.get("CPU", 1) / actors),
            "num_gpus": min(1.0, resources.get("GPU", 0) / actors),
            "max_restarts": -1,
            "max_task_retries": _DEATHS,
        }
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(function, **options)
    try:
        with closing(iter(results.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0))) as batches:
            for batch in batches:
                for content in batch["result"]:
                    result = pickle.loads(content)
                    if isinstance(result, Exception):
                        raise result
                    yield result
    except RayError as error:
        raise RuntimeError(f"Ray gave up: {error}. What is finished is kept: call again.") from error


def consume(results: Iterator[Any]) -> None:
    """Do all, keep nothing."""
    for _ in results:
        pass


class Actor:
    """Does a work on one item after the other; what it has loaded, it keeps.

    Args:
        sent: The work, pickled, where Ray keeps it.
    """

    def __init__(self, sent: Any) -> None:
        self._sent = sent
        self._work: Any = None

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The result of an item, or its error: raised here, it would come to the driver in pages of Ray's."""
        try:
            if self._work is None:
                self._work = _load(self._sent)
            result = self._work(pickle.loads(batch["item"][0]))
        except Exception as error:
            result = error
        return {"result": np.array([_dump(result)], object)}


def _call(batch: dict[str, np.ndarray], sent: Any) -> dict[str, np.ndarray]:
    return Actor(sent)(batch)


def _load(sent: Any) -> Any:
    import ray

    content = ray.get(sent) if isinstance(sent, ray.ObjectRef) else sent
    try:
        return pickle.loads(content)
    except Exception as error:
        raise RuntimeError(
            f"What was sent cannot be loaded where it should run: {type(error).__name__}: {error}. Model, packages and "
            "your own modules have to be there on each machine, not on the driver's alone."
        ) from error


def _dump(result: Any) -> bytes:
    import ray

    try:
        content: bytes = ray.cloudpickle.dumps(result)
        pickle.loads(content)
    except Exception:  # an error that does not pickle
        content = pickle.dumps(RuntimeError(f"{type(result).__name__}: {result}"))
    return content
