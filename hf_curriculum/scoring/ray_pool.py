"""Work on the parts of an input, by actors of Ray."""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from datasets.utils.tqdm import tqdm

from hf_curriculum._optional import require_extra

logger = logging.getLogger(__name__)
_DEATHS = 8  # of an actor on one item, before the item is taken for their cause
_AHEAD = 2  # items that an actor has got: it starts the next one without asking


@contextmanager
def ray_started() -> Iterator[None]:
    """Ray: the one that runs already, in this process, at ``RAY_ADDRESS`` or on this machine; else one of our own.

    Ours has no dashboard, sends no telemetry, and is shut down at the end, after an error too.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning of what Ray will change
    ray: Any = require_extra("ray", extra="ray", purpose="score_parquet")
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


class RayPool:
    """Actors that do one work after the other, each on many items; they live as long as the ``with`` block.

    Ray Data would start new ones for each work, and takes no limit for how often an actor may die on the same item.

    Args:
        actors: Their number. Default ``None``: one a GPU, or one a CPU.
        accelerated: Whether they share the GPUs of the cluster. Default ``True``, where there are any.
    """

    def __init__(self, actors: int | None = None, accelerated: bool = True) -> None:
        import ray

        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 1), resources.get("GPU", 0) if accelerated else 0
        self.accelerated = gpus > 0
        self.size = actors or max(1, int(gpus or cpus))
        remote = ray.remote(_Worker).options(
            num_cpus=min(1.0, cpus / self.size),
            num_gpus=min(1.0, gpus / self.size),
            max_restarts=-1,
            max_task_retries=_DEATHS,
        )
        self._logged: set[str] = set()
        self._actors = [remote.remote(os.getcwd()) for _ in range(self.size)]

    def __enter__(self) -> "RayPool":
        return self

    def __exit__(self, *error: object) -> None:
        import ray

        for actor in self._actors:
            ray.kill(actor)

    def each(self, work: Callable[[Any], Any], items: Sequence[Any], task: str) -> Iterator[Any]:
        """What ``work`` makes of each item, as they are finished.

        Args:
            work: Pickles. An actor keeps what it has loaded for the next item.
            items: Pickle, and are small.
            task: What is done, for the progress bar and errors.

        Yields:
            One result an item.

        Raises:
            Exception: The first that ``work`` raises, as it is.
            RuntimeError: If actors die again and again on one item, or Ray fails.
        """
        import ray
        from ray.exceptions import RayError

        try:
            sent = ray.put(ray.cloudpickle.dumps(work))
        except Exception as error:
            raise ValueError(
                f"This model cannot be sent to other processes: {type(error).__name__}: {error}"
            ) from error
        left = iter(items)
        running: dict[Any, Any] = {}

        def start(actor: Any) -> None:
            for item in left:
                running[actor.run.remote([sent], ray.cloudpickle.dumps(item))] = actor
                return

        for _ in range(_AHEAD):
            for actor in self._actors:
                start(actor)
        with tqdm(total=len(items), desc=task, unit=" parts") as bar:
            while running:
                (ready,), _ = ray.wait(list(running), num_returns=1)
                start(running.pop(ready))
                try:
                    result, words = pickle.loads(ray.get(ready))
                except RayError as error:
                    raise RuntimeError(f"Ray gave up {task.lower()}: {error}. What is finished is kept.") from error
                self._log(words)
                if isinstance(result, Exception):
                    raise result
                bar.update()
                yield result

    def _log(self, words: list[str]) -> None:
        """Warn of what actors warn of, once."""
        for text in words:
            if text not in self._logged:
                self._logged.add(text)
                logger.warning(text)

    def all(self, work: Callable[[Any], Any], items: Sequence[Any], task: str) -> None:
        """As :meth:`each`, where results do not matter.

        Args:
            work: As there.
            items: As there.
            task: As there.
        """
        for _ in self.each(work, items, task):
            pass


class _Worker:
    """The actor.

    Args:
        folder: Where the driver is, and so what its relative paths mean; Ray may have been started elsewhere.
    """

    def __init__(self, folder: str) -> None:
        with suppress(OSError):  # another machine may have no such folder
            os.chdir(folder)
        self._key: Any = None
        self._work: Any = None

    def run(self, sent: list[Any], item: bytes) -> bytes:
        """The result of an item and our warnings; or its error: raised here, it would come with pages of Ray's."""
        import ray

        with _words() as words:
            try:
                if self._key != sent[0]:
                    self._key, self._work = None, None
                    self._work, self._key = _load(ray.get(sent[0])), sent[0]
                content: bytes = ray.cloudpickle.dumps((self._work(pickle.loads(item)), words))
            except Exception as error:
                content = _dump(error, words)
        return content


@contextmanager
def _words() -> Iterator[list[str]]:
    """What the library warns of in the block."""
    words: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: words.append(record.getMessage())  # type: ignore[method-assign]
    library = logging.getLogger("hf_curriculum")
    library.addHandler(handler)
    try:
        yield words
    finally:
        library.removeHandler(handler)


def _load(content: bytes) -> Any:
    try:
        return pickle.loads(content)
    except Exception as error:
        raise RuntimeError(
            f"The model cannot be loaded where it should run: {type(error).__name__}: {error}. Its files and the "
            "modules that its code stands in have to be on each machine, not on that of the driver alone."
        ) from error


def _dump(error: Exception, words: list[str]) -> bytes:
    import ray

    try:
        content: bytes = ray.cloudpickle.dumps((error, words))
        pickle.loads(content)
    except Exception:  # not every error pickles
        content = pickle.dumps((RuntimeError(f"{type(error).__name__}: {error}"), words))
    return content
