"""What readers of a stream note for the trainer: they may run in other processes, ahead of the step in training."""

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Journal:
    """Files in a folder: where each reader starts, and what it drew from each block, noted before it hands out a row.

    Args:
        folder: Exists, on a disk of this machine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, states: dict[int, dict[str, Any]], turn: int) -> None:
        """Say where readers start.

        Args:
            states: State of each, by its number.
            turn: Worker that is to hand out the first batch.
        """
        (self._folder / "start").write_text(json.dumps({"turn": turn, "states": states}))

    @property
    def turn(self) -> int:
        """Number of the worker that hands out the first batch."""
        return int(self._start()["turn"])

    def state(self, reader: int) -> dict[str, Any]:
        """State in which a reader starts; empty for one that starts anew."""
        state: dict[str, Any] = self._start()["states"].get(str(reader), {})
        return state

    def _start(self) -> dict[str, Any]:
        path = self._folder / "start"
        return json.loads(path.read_text()) if path.exists() else {"turn": 0, "states": {}}

    def note(self, reader: int, state: dict[str, Any], drawn: NDArray[np.int64], difficulty: NDArray[Any]) -> None:
        """Note a block that a reader has drawn from.

        Args:
            reader: Its number.
            state: In which it starts the block.
            drawn: Positions of the rows to train on, in order.
            difficulty: Of each row of the block, NaN for none.
        """
        block = {
            "state": state,
            "rows": difficulty.size,
            "distinct": int(np.unique(drawn).size),
            "drawn": b64encode(difficulty[drawn].astype(np.float32).tobytes()).decode(),
        }
        self._path(reader, state["read"]).write_text(json.dumps(block))

    def take(self, reader: int, read: int) -> dict[str, Any]:
        """What :meth:`note` noted; it is forgotten.

        Args:
            reader: Number of the reader.
            read: Rows that it had read before the block.

        Returns:
            The ``state``, the number of ``rows``, of ``distinct`` ones drawn, and the difficulties ``drawn``.
        """
        path = self._path(reader, read)
        block: dict[str, Any] = json.loads(path.read_text())
        path.unlink()
        return block | {"drawn": np.frombuffer(b64decode(block["drawn"]), np.float32)}

    def _path(self, reader: int, read: int) -> Path:
        return self._folder / f"block-{reader}-{read}"
