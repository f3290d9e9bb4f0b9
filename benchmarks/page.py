"""How long does it take to write the report of a large dataset, and to open it?

    python benchmarks/page.py [--rows 100000]

Images of 32 x 32 random pixels with 64 numbers each in 300 clusters. The peer is what one would write by hand, the
``px.scatter(...).write_html`` of plotly for all embeddings in two dimensions, coloured by cluster, without pictures.
Opened in headless Chromium, from the start of the navigation until the plots are there; median of alternating rounds.
Needs Chromium.
"""

import argparse
import io
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import plotly.express as px
import pyarrow as pa
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from playwright.sync_api import Browser, sync_playwright
from report import print_json, print_table
from sklearn.decomposition import PCA

from hf_curriculum import add_difficulty, report


def made(rows: int, dim: int = 64, clusters: int = 300) -> Dataset:
    rng = np.random.default_rng(0)
    files = []
    for _ in range(256):
        file = io.BytesIO()
        PILImage.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file, "PNG")
        files.append({"bytes": file.getvalue(), "path": None})
    centres = 2 * rng.normal(size=(clusters, dim))
    vectors = (centres[rng.integers(clusters, size=rows)] + rng.normal(size=(rows, dim))).astype(np.float32)
    table = pa.table(
        {
            "image": pa.array([files[row % 256] for row in range(rows)]),
            "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), dim),
        }
    )
    features = Features({"image": Image(), "embedding": List(Value("float32"), length=dim)})
    return add_difficulty(Dataset(table).cast(features), n_clusters=clusters)


def by_hand(dataset: Dataset, path: Path) -> None:
    places = PCA(2, random_state=0).fit_transform(np.array(dataset.with_format("numpy")["embedding"][:]))
    cluster = np.array(dataset["cluster"]).astype(str)
    figure = px.scatter(x=places[:, 0], y=places[:, 1], color=cluster, hover_name=np.arange(len(dataset)))
    figure.write_html(path)


def seconds_to_open(browser: Browser, path: Path) -> float:
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    start = time.perf_counter()
    tab.goto(path.as_uri())
    tab.wait_for_selector("#map-plot .point, .js-plotly-plot .main-svg", state="attached", timeout=120_000)
    tab.wait_for_selector("html[data-ready], .js-plotly-plot .gl-canvas, .scatterlayer", state="attached")
    taken = time.perf_counter() - start
    tab.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    dataset, table = made(arguments.rows), []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        writers = {"report": report, "plotly by hand": by_hand}
        paths = {name: Path(folder) / f"{name.replace(' ', '_')}.html" for name in writers}
        written = {}
        for name, write in writers.items():
            start = time.perf_counter()
            write(dataset, paths[name])
            written[name] = time.perf_counter() - start
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = [
            {name: seconds_to_open(browser, path) for name, path in paths.items()} for _ in range(arguments.rounds)
        ]
        for name, path in paths.items():
            seconds = float(np.median([times[name] for times in opened]))
            table.append((name, path.stat().st_size / 1e6, written[name], seconds))
    ratio = table[1][3] / table[0][3]
    print_table(["page", "MB", "seconds to write", "seconds to open"], table)
    print_json({"rows": arguments.rows, "pages": table, "opened_ratio": ratio, "opened": opened})


if __name__ == "__main__":
    main()
