"""A training whose difficulties follow its model: what it sees of rows, made into tables that all processes share."""

import logging
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import NDArray

from hf_curriculum.training.learned import LearnedDifficulty
from hf_curriculum.training.row_losses import row_losses
from hf_curriculum.training.running_means import RunningMeans

logger = logging.getLogger(__name__)
_FILE = "curriculum_difficulty.npz"
_BLOCKED_AFTER = 60.0  # seconds


class Learning:
    """What one training has seen of its rows, and the tables of difficulties that were made of it.

    Args:
        trainer: The trainer, whose ``curriculum_sampler`` draws by the tables.
        learned: What is seen, and how often a table is made.
        rows: Number of rows.
        clusters: Cluster of each row, or ``None``.

    Attributes:
        source: That of ``learned``.
    """

    def __init__(
        self, trainer: Any, learned: LearnedDifficulty, rows: int, clusters: NDArray[np.integer] | None = None
    ) -> None:
        self._ref = weakref.ref(trainer)  # the trainer holds this: its model would wait for the garbage collector
        self._learned, self._rows = learned, rows
        self.source = learned.source
        self._running = RunningMeans(rows, clusters)
        self._pending: list[tuple[int, NDArray[np.integer], torch.Tensor]] = []
        self._tables: dict[int, NDArray[np.floating]] = {}  # by the optimiser step from which on they are valid
        self._made = 0  # optimiser step after which the last table was made
        self._batch = (0, 0)  # optimiser step, and batches of it that this process has seen

    def settings(self) -> dict[str, Any]:
        """What decides the tables, ready for JSON."""
        return {"source": self._learned.name, "every": self._learned.every, "target": self._learned.target}

    @property
    def _trainer(self) -> Any:
        return self._ref()

    def begin(self, step: int, checkpoint: str | None) -> None:
        """Start a training, or go on from a checkpoint.

        Args:
            step: Optimiser step, 0 for a new training.
            checkpoint: Folder of the checkpoint; ``None`` for a new training.

        Raises:
            ValueError: If the checkpoint has no tables.
        """
        self._made = step
        self._pending, self._batch = [], (step, 0)
        if step and checkpoint:
            self._load(Path(checkpoint, _FILE))
        for first_step, table in self._tables.items():
            self._trainer.curriculum_sampler.use(self._trainer.curriculum_sampler.begun(first_step), table)
        self._know(step)

    def end_step(self, step: int) -> None:
        """Make a table where one is due; an epoch that ends is told once more."""
        if step % self._learned.every == 0 and step > self._made:
            self._made = step
            started = time.perf_counter()
            self._trainer._drawn.note(step)  # by the tables that are about to be dropped
            table = self._called(step) if callable(self.source) else self._seen()
            if table is not None:
                first_step = step + self._learned.every
                newest = {first: kept for first, kept in self._tables.items() if first == step}  # valid from now on
                self._tables = newest | {first_step: table}
                self._trainer.curriculum_sampler.use(self._trainer.curriculum_sampler.begun(first_step), table)
            self._know(step)
            logger.debug("A table of difficulties took %.3f s.", time.perf_counter() - started)

    def note_losses(self, model: torch.nn.Module, outputs: Any, labels: torch.Tensor | None) -> None:
        """Take the losses of the rows of a batch of this process; they stay where they are until a table is made.

        Args:
            model: The model.
            outputs: Of its forward pass.
            labels: Of the batch.

        Raises:
            TypeError: If the losses of single rows cannot be told.
            ValueError: If there are more of them, or fewer, than rows.
        """
        step = self._trainer.state.global_step
        batch = self._batch[1] if self._batch[0] == step else 0
        self._batch = (step, batch + 1)
        accelerator = self._trainer.accelerator
        losses = row_losses(getattr(model, "get_base_model", lambda: model)(), outputs, labels)
        rows = self._trainer.curriculum_sampler.indices(step).reshape(
            self._trainer.args.gradient_accumulation_steps, accelerator.num_processes, -1
        )[batch, accelerator.process_index]
        if len(rows) != len(losses):
            raise ValueError(
                f"A batch of {len(rows)} rows gave {len(losses)} losses, so they cannot be told apart: "
                "LearnedDifficulty('loss') needs one row of logits for each row of the dataset."
            )
        self._pending.append((step, rows, losses.detach()))

    def note_rewards(self, rewards: torch.Tensor) -> None:
        """Take the rewards of a generation batch, those of all processes.

        Args:
            rewards: By completion and reward function, NaN where a function has none. Shape ``(completions, n)``.

        Raises:
            ValueError: If a completion has no finite reward.
        """
        sampler = self._trainer.curriculum_sampler
        rows = sampler.indices(self._trainer._step // sampler.uses)
        rows = np.repeat(rows, len(rewards) // len(rows))
        known = ~torch.isnan(rewards)
        weights = self._trainer.reward_weights.to(rewards.device)
        totals = (torch.where(known, rewards, 0) * weights).sum(dim=1)
        bad = (~known.any(dim=1) | ~torch.isfinite(totals)).nonzero()
        if len(bad):
            row = int(rows[int(bad[0])])
            raise ValueError(
                f"The reward of a completion of prompt {row} is {float(rewards[bad[0]].sum())}, so its pass rate is "
                f"not known ({len(bad)} such completions). Each completion needs a finite reward of one function at "
                "least."
            )
        if self._trainer.accelerator.is_main_process:  # the others have the same
            self._pending.append((self._trainer.state.global_step, rows, totals))

    def save(self, checkpoint: Path) -> None:
        """Keep in a checkpoint's folder what :meth:`begin` needs. On all processes, of which one writes."""
        self._fold()
        if self._trainer.args.should_save:
            checkpoint.mkdir(parents=True, exist_ok=True)
            tables: dict[str, Any] = {f"table_{first}": table for first, table in self._tables.items()}
            np.savez(checkpoint / _FILE, means=self._running.means, counts=self._running.counts, **tables)

    def _load(self, path: Path) -> None:
        if not path.exists():
            raise ValueError(
                f"{path} is missing: without it the difficulties that the training had learned are unknown. Resume "
                "from another checkpoint, or pass allow_changed_resume=True without learned difficulties."
            )
        with np.load(path) as saved:
            self._running.means, self._running.counts = saved["means"], saved["counts"]
            self._tables = {int(name[6:]): saved[name] for name in saved.files if name.startswith("table_")}

    def _know(self, step: int) -> None:
        """Let rows be drawn up to where the next table, or the one after it, begins."""
        every, sampler = self._learned.every, self._trainer.curriculum_sampler
        sampler.known = sampler.begun((step // every + 2) * every)

    def _fold(self) -> None:
        """Add what all processes have seen, in an order that depends on nothing else."""
        mine = [(step, rows, values.float().cpu().numpy()) for step, rows, values in self._pending]
        self._pending = []
        seen: dict[int, list[tuple[Any, Any]]] = {}
        for step, rows, values in gather_object(mine):
            seen.setdefault(step, []).append((rows, values))
        for step in sorted(seen):
            rows, values = (np.concatenate(parts) for parts in zip(*seen[step], strict=True))
            finite = np.isfinite(values)
            if not finite.all() and self._trainer.is_world_process_zero():
                logger.warning(
                    "After step %d the loss of row %d is %s (%d such rows), or it has no label: left out of the "
                    "difficulties.",
                    step,
                    rows[~finite][0],
                    values[~finite][0],
                    np.sum(~finite),
                )
            self._running.add(rows[finite], values[finite])

    def _seen(self) -> NDArray[np.float32] | None:
        self._fold()
        means = self._running.filled()
        if means is None or self.source == "loss":
            return means
        return np.abs(means - np.float32(self._learned.target))

    def _called(self, step: int) -> NDArray[np.float64]:
        function = self.source
        assert callable(function)
        warn = threading.Timer(_BLOCKED_AFTER, self._warn)
        warn.daemon = True
        warn.start()
        try:
            answer = [function(self._trainer)]
        finally:
            warn.cancel()
        broadcast_object_list(answer)
        table = np.asarray(answer[0], dtype=np.float64)
        if table.shape != (self._rows,):
            raise ValueError(
                f"{self._learned.name} must return one number a row, shape ({self._rows},), got shape {table.shape} "
                f"after step {step}."
            )
        if not np.isfinite(table).all():
            row = int(np.flatnonzero(~np.isfinite(table))[0])
            raise ValueError(f"{self._learned.name} returned {table[row]} for row {row} after step {step}.")
        return table

    def _warn(self) -> None:
        logger.warning(
            "%s has been running for %d s, and the training waits for it: it must return on all processes.",
            self._learned.name,
            _BLOCKED_AFTER,
        )
