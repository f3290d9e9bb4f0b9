"""Is ``add_embeddings`` limited by the forward pass on a GPU, and where not, by decoding alone?"""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset

from benchmarks.gpu_parts.lines import Figures, Measurements, Size, seconds
from benchmarks.gpu_parts.models import photographs, save_bert, save_vit, save_wav2vec2, sounds, texts
from hf_curriculum import add_embeddings
from hf_curriculum.data.media import undecoded
from hf_curriculum.embedding.forward import Forward
from hf_curriculum.embedding.prefetch import Windows, load_windows
from hf_curriculum.embedding.rows import window_rows

ROUNDS = 3
BATCH = 64  # the default


def measurements(size: Size, deadline: float) -> Measurements:
    small = size.of(None, (32, 1))
    rows, many = size.of((40_000, 8), (24, 0))
    yield "MiniLM shape", partial(measured, size, partial(texts, rows), save_bert, small or (384, 6), many)
    yield "BERT-base shape", partial(measured, size, partial(texts, rows), save_bert, small or (768, 12), many)
    made = partial(sounds, size.of(2000, 4))
    yield "Wav2Vec2-base shape", partial(measured, size, made, save_wav2vec2, small or (768, 12), many)
    for workers in size.of((1, 4, 12), (0,)):
        named = f"ViT-S/16 from JPEG, {workers} workers"
        made = partial(photographs, size.of(800 * workers, 8))
        yield named, partial(measured, size, made, save_vit, small or (384, 12), workers)


def measured(
    size: Size,
    made: Callable[[], Dataset],
    save: Callable[[Path, int, int], str],
    shape: tuple[int, int],
    workers: int,
) -> Figures:
    """Rows per second of the whole, and of the forward pass alone over the very batches that it had."""
    dataset = made()
    with tempfile.TemporaryDirectory() as folder:
        model = save(Path(folder) / "model", *shape)
        inputs: list = []

        def whole(turn: int) -> None:
            add_embeddings(dataset, model, num_workers=workers, batch_size=BATCH, cache_dir=f"{folder}/{turn}")

        forward = watched(inputs, lambda: whole(0))
        with utilisation(size.device) as used:
            own = min(seconds(partial(whole, turn)) for turn in range(1, 1 + size.of(ROUNDS, 1)))

        forward.encoder.model.to(forward.device)  # which is left when all rows are embedded

        @torch.no_grad()
        def bare() -> None:
            with forward.precision():
                for batch in inputs:
                    forward._run(batch)

        bare()
        alone = min(seconds(bare) for _ in range(size.of(ROUNDS, 1)))
        prepared = seconds(lambda: prepare(dataset, forward, workers))
    figures = {"rows": len(dataset), "rows_per_s": len(dataset) / own, "bare_rows_per_s": len(dataset) / alone}
    figures |= {"prepared_rows_per_s": len(dataset) / prepared, "utilisation": used}
    return {**figures, "share_of_forward": alone / own, "share_of_slower": max(alone, prepared) / own}


def prepare(dataset: Dataset, forward: Forward, workers: int) -> None:
    """Decode and prepare by the workers of ``add_embeddings``, and embed nothing."""
    (column,) = dataset.column_names
    rows = window_rows(forward.encoder, BATCH)
    ranges = [(start, min(start + rows, len(dataset))) for start in range(0, len(dataset), rows)]
    windows = Windows(undecoded(dataset, column), column, forward.encoder, BATCH, ranges)
    for _ in load_windows(windows, workers, forward.device.type == "cuda"):
        pass


def watched(inputs: list, run: Callable[[], None]) -> Forward:
    """Let it embed, and keep its batches and what embedded them; they are on the CPU, as they come from workers."""
    original, seen = Forward._run, []

    def noting(self: Forward, batch: object) -> list[torch.Tensor]:
        inputs.append(batch)
        seen.append(self)
        return original(self, batch)

    Forward._run = noting
    try:
        run()
    finally:
        Forward._run = original
    return seen[0]


@contextmanager
def utilisation(device: str) -> Iterator[list[float]]:
    """Percent of the time in which the GPU worked, several times a second; empty where that cannot be asked."""
    used: list[float] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.2):
            try:
                used.append(float(torch.cuda.utilization()))
            except Exception:  # without nvidia-ml-py
                return

    thread = threading.Thread(target=ask)
    if device == "cuda":
        thread.start()
    try:
        yield used
    finally:
        ended.set()
        if device == "cuda":
            thread.join()
