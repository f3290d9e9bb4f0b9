"""Media whose bytes are in archives and behind URLs, as ``datasets`` itself reads them."""

import http.server
import io
import threading
import zipfile
from functools import partial

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, Features, Image, Video
from PIL import Image as PILImage

from hf_curriculum import add_difficulty, add_embeddings, report, show_extremes
from hf_curriculum.data.media import read_audio, read_image, read_video
from hf_curriculum.data.opening import open_media

ROWS = 8


def picture(row):
    buffer = io.BytesIO()
    PILImage.fromarray(np.random.default_rng(row).integers(0, 255, (32, 32, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sound(row):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(row).normal(size=8_000).clip(-1, 1), 16_000, format="WAV")
    return buffer.getvalue()


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures and sounds as files and in an archive."""
    path = tmp_path_factory.mktemp("media")
    with zipfile.ZipFile(path / "archive.zip", "w") as archive:
        for row in range(ROWS):
            for name, content in ((f"{row}.png", picture(row)), (f"{row}.wav", sound(row))):
                (path / name).write_bytes(content)
                archive.writestr(f"inside/{name}", content)
    return path


@pytest.fixture(scope="module")
def url(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["file", "file url", "zip", "http"])
def prefix(request, folder, url):
    """What stands before and after the name of a file."""
    return {
        "file": (f"{folder}/", ""),
        "file url": (f"file://{folder}/", ""),
        "zip": ("zip://inside/", f"::{folder}/archive.zip"),
        "http": (f"{url}/", ""),
    }[request.param]


def paths(prefix, ending):
    return [f"{prefix[0]}{row}.{ending}{prefix[1]}" for row in range(ROWS)]


def column(name, feature, values):
    return Dataset.from_dict({name: values}, features=Features({name: feature}))


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_are_those_of_their_bytes(prefix, workers, own_cache):
    here = column("image", Image(), [{"bytes": picture(row), "path": None} for row in range(ROWS)])
    there = column("image", Image(), paths(prefix, "png"))
    wanted, found = (add_embeddings(data, "builtin/hog", num_workers=workers) for data in (here, there))
    assert found["embedding"][:] == wanted["embedding"][:]
    if not prefix[0].startswith("file:"):  # which datasets takes for a relative path
        assert [np.asarray(image).tolist() for image in there["image"]] == [
            np.asarray(read_image(row)).tolist() for row in there.cast_column("image", Image(decode=False))["image"]
        ]


def test_sounds_are_those_of_their_bytes(prefix):
    there = Dataset.from_dict({"audio": paths(prefix, "wav")}).cast_column("audio", Audio(decode=False))["audio"]
    for row in range(ROWS):
        wanted = read_audio({"bytes": sound(row), "path": None}, 16_000)
        assert np.array_equal(read_audio(there[row], 16_000), wanted)


def test_films_are_those_of_their_bytes(folder, url):
    av = pytest.importorskip("av")
    with av.open(str(folder / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", 10)
        stream.width = stream.height = 32
        for row in range(10):
            frame = np.full((32, 32, 3), row * 20, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    wanted = read_video({"bytes": (folder / "film.mp4").read_bytes(), "path": None}, 3)
    there = column("video", Video(decode=False), [f"{url}/film.mp4"])["video"][0]
    assert [frame.tobytes() for frame in read_video(there, 3)] == [frame.tobytes() for frame in wanted]


def test_report_and_plots_show_them(url, tmp_path):
    pictures = column("image", Image(), paths((f"{url}/", ""), "png"))
    scored = add_difficulty(pictures, "builtin/hog", n_clusters=1)
    assert "data:image/webp" in report(scored, tmp_path / "report.html").read_text()
    assert show_extremes(scored).axes


@pytest.mark.parametrize(
    "path",
    ["zip://absent.png::{folder}/archive.zip", "zip://a.png::{folder}/absent.zip", "{url}/absent.png", "no://a"],
)
def test_what_is_not_there_is_a_bad_row_that_says_so(folder, url, path):
    rows = [*paths((f"{folder}/", ""), "png")[:2], path.format(folder=folder, url=url)]
    with pytest.raises(ValueError, match="Row 2 of column 'image' cannot be embedded: .*(absent|no://a)"):
        add_embeddings(column("image", Image(), rows), "builtin/hog", num_workers=0)
    found = add_embeddings(column("image", Image(), rows), "builtin/hog", num_workers=0, on_error="null")
    assert [vector is None for vector in found["embedding"]] == [False, False, True]


def test_bytes_come_before_the_path():
    assert open_media({"bytes": b"here", "path": "https://absent.invalid/a.png"}).read() == b"here"
