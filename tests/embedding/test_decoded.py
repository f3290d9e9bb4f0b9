"""Sounds and films that datasets has decoded with torchcodec: ``make test-torchcodec``, which wants FFmpeg."""

import io

import numpy as np
import pytest
from datasets import Audio, Dataset, Video
from needs import needs
from PIL import Image

from hf_curriculum import Embedder, add_embeddings
from hf_curriculum.data.media import read_audio, read_video

needs("torchcodec")
av = needs("av")

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def films():
    """Six films of eight pictures of one grey each."""
    rows = []
    for i in range(6):
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("mpeg4", rate=8)
            stream.width = stream.height = 32
            for j in range(8):
                picture = Image.new("RGB", (32, 32), (20 * i + 10 * j,) * 3)
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode())
        rows.append({"bytes": file.getvalue(), "path": None})
    return Dataset.from_dict({"film": rows}).cast_column("film", Video())


def brightness(rows):
    return [[np.asarray(frame, np.float32).mean() for frame in read_video(row, 4)] for row in rows]


def test_a_decoder_gives_the_samples_of_the_file(clips):
    for decoded, row in zip(clips, clips.cast_column("audio", Audio(decode=False)), strict=True):
        np.testing.assert_allclose(read_audio(decoded["audio"], 16_000), read_audio(row["audio"], 16_000), atol=1e-4)


@pytest.mark.parametrize("model", ["builtin/logmel", "tiny_wav2vec2"])
@pytest.mark.parametrize("batched", [True, False])
def test_a_stream_of_decoded_sounds(request, clips, model, batched):
    model = request.getfixturevalue(model) if model.startswith("tiny") else model
    stream = clips.to_iterable_dataset().map(Embedder(model), batched=batched)
    found = np.array([row["embedding"] for row in stream.remove_columns("audio")])
    expected = np.array(add_embeddings(clips, model)["embedding"][:])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_map_leaves_decoded_columns_as_they_are(clips):
    mapped = clips.map(Embedder("builtin/logmel"), batched=True)
    stored = [data.cast_column("audio", Audio(decode=False))["audio"][:] for data in (mapped, clips)]
    assert stored[0] == stored[1]


@pytest.mark.parametrize("batched", [True, False])
def test_a_stream_of_decoded_films(films, batched):
    expected = brightness(films.cast_column("film", Video(decode=False))["film"][:])
    assert np.ptp(expected) > 50
    embedder = Embedder(brightness, modality="video")
    stream = films.to_iterable_dataset().map(embedder, batched=batched)
    found = [row["embedding"] for row in stream.remove_columns("film")]
    np.testing.assert_allclose(found, expected, atol=1)
