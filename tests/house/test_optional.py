import ast
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

import hf_curriculum
from hf_curriculum._optional import require_extra


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes a package that can be imported, with this code in its ``part.py``."""

    def write(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "part.py").write_text(code)

    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["json", "xml.dom.minidom"])
def test_the_module_asked_for_is_returned(name):
    module = require_extra(name, extra="plot", purpose="A test")
    assert module is sys.modules[name]
    assert module.__name__ == name


@pytest.mark.parametrize("module", ["nosuchmodule", "nosuchmodule.part.deeper"])
def test_a_missing_module_names_the_extra_that_brings_it(module):
    message = r"^builtin/hog needs `nosuchmodule`\. Install it with `pip install 'hf-curriculum\[image\] @ git\+https://github.com/hf-curriculum/hf-curriculum'`\.$"
    with pytest.raises(ModuleNotFoundError, match=message) as error:
        require_extra(module, extra="image", purpose="builtin/hog")
    assert error.value.name == "nosuchmodule"


def test_an_import_that_is_missing_inside_an_installed_module_is_the_error_shown(package):
    package("installed_one", "import nosuchmodule.inner")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'nosuchmodule'$"):
        require_extra("installed_one.part", extra="image", purpose="builtin/hog")


def test_a_part_that_an_installed_module_lacks_is_the_error_shown(package):
    package("installed_two", "")
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'installed_two\.other'$"):
        require_extra("installed_two.other", extra="image", purpose="builtin/hog")


def test_an_error_inside_an_installed_module_is_the_error_shown(package):
    package("installed_three", "from json import no_such_name")
    with pytest.raises(ImportError, match="cannot import name 'no_such_name' from 'json'"):
        require_extra("installed_three.part", extra="image", purpose="builtin/hog")


def test_a_sound_package_is_imported(package):
    package("installed_four", "answer = 42")
    assert require_extra("installed_four.part", extra="image", purpose="A test").answer == 42


def test_every_extra_that_the_code_names_brings_what_it_asks_for():
    calls = [
        {keyword.arg: keyword.value for keyword in node.keywords} | {"module": node.args[0]}
        for path in Path(hf_curriculum.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "require_extra"
    ]
    asked = {(call["extra"].value, call["module"].value.partition(".")[0]) for call in calls}
    assert asked == {
        ("image", "skimage"),
        ("audio", "soundfile"),
        ("audio", "soxr"),
        ("plot", "matplotlib"),
        ("report", "jinja2"),
        ("report", "plotly"),
        ("ray", "ray"),
        ("video", "av"),
    }
    for extra, module in asked:
        package = {"skimage": "scikit-image"}.get(module, module)
        brought = [line for line in requires("hf-curriculum") if f"extra == '{extra}'" in line.replace('"', "'")]
        assert any(line.startswith(package) for line in brought)
