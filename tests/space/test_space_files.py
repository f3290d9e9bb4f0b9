"""What is pushed as a Space: its card, what it installs, and what it takes of the library."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_client import environment
from hub_server import hub

import hf_curriculum
from hf_curriculum._optional import HOME, install_line

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "space"
CARD = yaml.safe_load((SPACE / "README.md").read_text().split("---")[1])


def test_it_installs_the_package_by_the_line_that_works():
    assert f"pip install '{(SPACE / 'requirements.txt').read_text().strip()}'" == install_line("all")
    assert HOME in (SPACE / "app.py").read_text() and HOME in (SPACE / "README.md").read_text()


def test_it_runs_on_the_gradio_that_is_tested():
    assert CARD["sdk"] == "gradio" and (SPACE / CARD["app_file"]).is_file()
    assert f"gradio=={CARD['sdk_version']}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert f'"Programming Language :: Python :: {CARD["python_version"]}"' in (ROOT / "pyproject.toml").read_text()


def test_its_card_is_one_that_the_hub_takes():
    assert CARD["license"] == "apache-2.0" and len(CARD["short_description"]) <= 60
    assert {CARD["colorFrom"], CARD["colorTo"]} <= {
        *("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"),
    }


def test_it_takes_public_names_alone_and_runs_no_code_of_strangers():
    tree = ast.parse((SPACE / "app.py").read_text())
    modules = {
        node.module: {name.name for name in node.names} for node in tree.body if isinstance(node, ast.ImportFrom)
    }
    ours = {module: names for module, names in modules.items() if module.startswith("hf_curriculum")}
    assert ours.keys() == {"hf_curriculum"} and ours["hf_curriculum"] <= set(hf_curriculum.__all__)
    assert not re.search("trust_remote_code|subprocess|system[(]", ast.unparse(tree))


@pytest.mark.slow
def test_the_documented_command_pushes_it(tmp_path):
    (line,) = re.findall(r"^hf (upload \S+ space .*)$", (ROOT / "docs" / "sharing.md").read_text(), re.MULTILINE)
    with hub() as server:
        command = [sys.executable, "-m", "huggingface_hub.cli.hf", *line.split()]
        subprocess.run(command, cwd=ROOT, env=environment(server, tmp_path), check=True, capture_output=True)
        (repo,) = server.repos.values()
        assert {name: data for name, data in repo.files().items() if name != ".gitattributes"} == {
            path.name: path.read_bytes() for path in SPACE.iterdir() if path.is_file()
        }
        assert [name.partition("/")[0] for name in server.repos] == ["spaces"]
