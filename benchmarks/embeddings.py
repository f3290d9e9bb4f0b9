"""Is ``add_embeddings`` limited by the encoder's forward pass?

    python benchmarks/embeddings.py text --data agnews.parquet
    python benchmarks/embeddings.py image --data cifar10-test.parquet
    python benchmarks/embeddings.py audio --data fsdd.parquet

Each compares rows per second of ``add_embeddings``, cache empty, with the bare forward pass over batches that are
ready in memory, and with what users write today, in alternating rounds of one process. Encoders have the shape of
MiniLM (the real one), DINOv2-small and Wav2Vec2-base (random weights: the speed is the same). ``decoding`` runs a tiny
encoder on photographs, ``audio-decoding`` one on audio files, so that decoding is the limit, beside a hand-written
``DataLoader`` with the same workers. Each ends with the processor time of ``add_embeddings`` with its forward pass
left out, which varies less than the ratios: these are of long runs on a machine that others may use.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from datasets import Audio, Dataset, disable_progress_bars, load_dataset
from PIL import Image
from report import print_json, print_table
from torch.utils.data import DataLoader
from transformers import (
    AutoModel,
    AutoTokenizer,
    Dinov2Config,
    Dinov2Model,
    ViTImageProcessor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from hf_curriculum import add_embeddings
from hf_curriculum.data.media import read_audio
from hf_curriculum.embedding.forward import Forward

Run = Callable[[], object]


def alternate(runs: dict[str, Run], rounds: int) -> dict[str, list[float]]:
    """Seconds of each run, one after the other in each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def beside_forward(run: Run, rounds: int) -> float:
    """Processor seconds of this process when the forward pass costs nothing."""
    original, Forward._run = Forward._run, no_vectors
    try:
        seconds = []
        for _ in range(1 + rounds):  # the first one imports
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
    finally:
        Forward._run = original
    return float(np.median(seconds[1:]))


def no_vectors(self: Forward, inputs: object) -> list[torch.Tensor]:
    return [torch.ones(len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs), 384)]


def ours(dataset: Dataset, model: str, **options) -> object:
    with tempfile.TemporaryDirectory() as cache:
        return add_embeddings(dataset, model, cache_dir=cache, **options)


def padded_batches(tokenizer, texts: list[str], batch_size: int) -> list[dict]:
    """Tokens in batches, longest first."""
    tokens = tokenizer(texts, truncation=True, max_length=256)
    order = np.argsort([-len(ids) for ids in tokens["input_ids"]], kind="stable")
    return [
        tokenizer.pad({k: [v[i] for i in order[s : s + batch_size]] for k, v in tokens.items()}, return_tensors="pt")
        for s in range(0, len(order), batch_size)
    ]


def text_runs(args) -> dict[str, Run]:
    from sentence_transformers import SentenceTransformer

    dataset = load_dataset("parquet", data_files=args.data, split="train").select(range(args.rows))
    model, tokenizer = AutoModel.from_pretrained(args.minilm).eval(), AutoTokenizer.from_pretrained(args.minilm)
    texts = dataset["text"][:]
    batches = padded_batches(tokenizer, texts, args.batch_size)
    sentences = SentenceTransformer(args.minilm, device="cpu")

    @torch.inference_mode()
    def bare():
        return [model(**batch).last_hidden_state for batch in batches]

    def plain_map():
        @torch.inference_mode()
        def embed(rows):
            inputs = tokenizer(rows["text"], padding=True, truncation=True, max_length=256, return_tensors="pt")
            hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
            return {"embedding": ((hidden * mask).sum(1) / mask.sum(1)).numpy()}

        return dataset.map(embed, batched=True, batch_size=args.batch_size, load_from_cache_file=False)

    return {
        "add_embeddings": lambda: ours(dataset, args.minilm, batch_size=args.batch_size),
        "bare forward pass": bare,
        "map as in the docs": plain_map,
        "SentenceTransformer.encode": lambda: sentences.encode(texts, batch_size=args.batch_size),
    }


def jpegs(path: str, rows: int, size: tuple[int, int]) -> Dataset:
    """Photographs as JPEG files of a usual size, made larger from a dataset of small ones."""
    small = load_dataset("parquet", data_files=path, split="train").select(range(rows))
    column = next(name for name, feature in small.features.items() if type(feature).__name__ == "Image")
    files = []
    for row in small:
        buffer = io.BytesIO()
        row[column].convert("RGB").resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        files.append({"bytes": buffer.getvalue(), "path": None})
    return Dataset.from_dict({"image": files}).cast_column("image", type(small.features[column])())


def save_dinov2(folder: Path, **config) -> str:
    Dinov2Model(Dinov2Config(image_size=224, patch_size=14, **config)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)
    return str(folder)


def image_runs(args, folder: Path) -> dict[str, Run]:
    model_id = save_dinov2(folder / "small", hidden_size=384, num_hidden_layers=12, num_attention_heads=6)
    dataset = jpegs(args.data, args.rows, (500, 375))
    processor, model = ViTImageProcessor.from_pretrained(model_id), AutoModel.from_pretrained(model_id).eval()
    pixels = processor(images=dataset["image"][:], return_tensors="pt")["pixel_values"].split(args.batch_size)

    @torch.inference_mode()
    def bare():
        return [model(pixel_values=batch).last_hidden_state for batch in pixels]

    return {
        "add_embeddings": lambda: ours(dataset, model_id, batch_size=args.batch_size, num_workers=args.workers),
        "bare forward pass": bare,
    }


def decoding_runs(args, folder: Path) -> dict[str, Run]:
    model_id = save_dinov2(folder / "tiny", hidden_size=16, num_hidden_layers=1, num_attention_heads=1, mlp_ratio=1)
    dataset = jpegs(args.data, 8 * args.rows, (500, 375))
    processor, model = ViTImageProcessor.from_pretrained(model_id), AutoModel.from_pretrained(model_id).eval()

    def collate(rows):
        return processor(images=[row["image"].convert("RGB") for row in rows], return_tensors="pt")

    workers = max(1, args.workers or 0)

    @torch.inference_mode()
    def by_hand():
        loader = DataLoader(dataset, batch_size=args.batch_size, num_workers=workers, collate_fn=collate)
        return np.concatenate([model(**batch).last_hidden_state[:, 0].numpy() for batch in loader])

    return {
        "add_embeddings": lambda: ours(dataset, model_id, batch_size=args.batch_size, num_workers=workers),
        "DataLoader by hand": by_hand,
    }


def audio_runs(args, folder: Path) -> dict[str, Run]:
    Wav2Vec2Model(Wav2Vec2Config()).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)
    dataset = load_dataset("parquet", data_files=args.data, split="train").select(range(args.rows))
    column = next(name for name, feature in dataset.features.items() if type(feature).__name__ == "Audio")
    raw = dataset.cast_column(column, type(dataset.features[column])(decode=False))
    extractor, model = Wav2Vec2FeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = [
        extractor(read_audio(row, 16_000), sampling_rate=16_000, return_tensors="pt").input_values
        for row in raw[column]
    ]

    @torch.inference_mode()
    def bare():
        return [model(values).last_hidden_state.mean(1) for values in inputs]

    return {
        "add_embeddings": lambda: ours(dataset, str(folder), batch_size=args.batch_size, num_workers=args.workers),
        "bare forward pass, clip by clip": bare,
    }


def long_clips(path: str, rows: int) -> Dataset:
    """FLAC files of 44.1 kHz and about 10 s, each made of 20 short clips."""
    short = load_dataset("parquet", data_files=path, split="train")
    column = next(name for name, feature in short.features.items() if type(feature).__name__ == "Audio")
    clips = [read_audio(row, 44_100) for row in short.cast_column(column, Audio(decode=False))[column]]
    files = []
    for row in range(rows):
        buffer = io.BytesIO()
        samples = np.concatenate([clips[(20 * row + i) % len(clips)] for i in range(20)])
        soundfile.write(buffer, samples, 44_100, format="FLAC")
        files.append({"bytes": buffer.getvalue(), "path": None})
    return Dataset.from_dict({"audio": files}).cast_column("audio", Audio())


def audio_decoding_runs(args, folder: Path) -> dict[str, Run]:
    config = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (10, 8)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 1}
    Wav2Vec2Model(Wav2Vec2Config(**config, **convolutions, **positions)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(folder)
    dataset = long_clips(args.data, args.rows)
    raw = dataset.cast_column("audio", Audio(decode=False))
    extractor, model = Wav2Vec2FeatureExtractor.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    workers = max(1, args.workers or 0)

    def collate(rows):
        features = []
        for row in rows:
            samples, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32", always_2d=True)
            clip = soxr.resample(samples.mean(axis=1), rate, 16_000)
            features.append(extractor(clip, sampling_rate=16_000, return_tensors="np").input_values)
        return features

    @torch.inference_mode()
    def by_hand():
        loader = DataLoader(raw, batch_size=args.batch_size, num_workers=workers, collate_fn=collate)
        clips = (torch.from_numpy(clip) for batch in loader for clip in batch)
        return np.concatenate([model(clip).last_hidden_state.mean(1).numpy() for clip in clips])

    return {
        "add_embeddings": lambda: ours(dataset, str(folder), batch_size=args.batch_size, num_workers=workers),
        "DataLoader by hand": by_hand,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["text", "image", "decoding", "audio", "audio-decoding"])
    parser.add_argument("--data", required=True, help="Parquet file with a text, image or audio column")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minilm", default="sentence-transformers/all-MiniLM-L6-v2")
    args = parser.parse_args()
    disable_progress_bars()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        makers = {
            "image": image_runs,
            "decoding": decoding_runs,
            "audio": audio_runs,
            "audio-decoding": audio_decoding_runs,
        }
        runs = text_runs(args) if args.kind == "text" else makers[args.kind](args, Path(folder))
        seconds = alternate(runs, args.rounds)
        beside = beside_forward(runs["add_embeddings"], args.rounds)
    own = np.array(seconds["add_embeddings"])
    rows = args.rows * (8 if args.kind == "decoding" else 1)
    table = [
        (name, float(rows / np.median(times)), float(np.median(np.array(times) / own)))
        for name, times in seconds.items()
    ]
    print_table([f"{args.kind}, {rows} rows", "rows/s", "ours is x times as fast"], table)
    print_table(["processor seconds beside the forward pass"], [[beside]])
    print_json(
        {"beside_forward": beside, "kind": args.kind, "rows": rows, "batch_size": args.batch_size, "seconds": seconds}
    )


if __name__ == "__main__":
    main()
