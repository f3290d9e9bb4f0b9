"""Public functions say what they take, give and raise."""

import ast
import re
from pathlib import Path

import pytest

import hf_curriculum

PACKAGE = Path(hf_curriculum.__file__).parent

COMMANDS = {"cli/score.py", "cli/app.py"}
"""Their docstrings are the help of the commands; arguments and options say there what they are."""

OF_ENCODERS = {"read", "prepare", "encode", "identity"}
"""Documented in ``encoders.base.Encoder``; those who offer it, by inheritance or not, say what is theirs alone."""

SECTION = re.compile(r"^(Args|Returns|Yields|Raises):$", re.MULTILINE)


def public_functions(tree):
    """Name, function and whether it is a method, of all public functions and methods of public classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node, False
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    yield f"{node.name}.{method.name}", method, True


def is_exempt(file, name, function):
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in function.decorator_list}
    return (
        function.name.startswith("_")
        or bool(decorators & {"property", "cached_property"})  # one sentence says what it is
        or file in COMMANDS
        or (function.name in OF_ENCODERS and name != f"Encoder.{function.name}")
    )


def arguments(function, is_method):
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args)]
    static = any(ast.unparse(decorator) == "staticmethod" for decorator in function.decorator_list)
    names = names[1:] if is_method and not static else names
    names += [one.arg for one in given.kwonlyargs]
    stars = [(given.vararg, "*"), (given.kwarg, "**")]
    return names + [star + one.arg for one, star in stars if one is not None]


def gives(function):
    return function.returns is None or ast.unparse(function.returns) not in ("None", "NoReturn", "Iterator[None]")


def raises(function):
    """Whether there is a ``raise`` of its own, not of a function inside it, with an error."""
    todo = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise) and node.exc is not None:
            return True
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return False


def missing(function, is_method):
    """What the docstring of a function does not say."""
    doc = ast.get_docstring(function) or ""
    parts = SECTION.split(doc)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    found = [] if doc else ["a docstring"]
    names = arguments(function, is_method)
    if len(names) >= 2:
        said = sections.get("Args", "")
        found += [name for name in names if not re.search(rf"^    {re.escape(name)}: ", said, re.MULTILINE)]
        if gives(function) and not {"Returns", "Yields"} & sections.keys():
            found.append("Returns")
    if raises(function) and "Raises" not in sections:
        found.append("Raises")
    return found


FILES = [path for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_public_functions_say_what_they_take_give_and_raise(path):
    file = path.relative_to(PACKAGE).as_posix()
    found = {
        name: lacking
        for name, function, is_method in public_functions(ast.parse(path.read_text()))
        if not is_exempt(file, name, function) and (lacking := missing(function, is_method))
    }
    assert found == {}


DOCUMENTED = '''
def f(a, b, *c, d=1, **e) -> int:
    """What.

    Args:
        a: One.
        b: Two.
        *c: Three.
        d: Four.
        **e: Five.

    Returns:
        Six.

    Raises:
        ValueError: If.
    """
    raise ValueError
'''


@pytest.mark.parametrize(
    "code, lacking",
    [
        (DOCUMENTED, []),
        (DOCUMENTED.replace("b: Two", "B: Two"), ["b"]),
        (DOCUMENTED.replace("**e: Five", "e: Five"), ["**e"]),
        (DOCUMENTED.replace("Args:", "Arguments:"), ["a", "b", "d", "*c", "**e"]),
        (DOCUMENTED.replace("Returns:", "Gives:"), ["Returns"]),
        (DOCUMENTED.replace("Returns:", "Gives:").replace("int", "None"), []),
        (DOCUMENTED.replace("Raises:", "Errors:"), ["Raises"]),
        (DOCUMENTED.replace("Raises:", "Errors:").replace("raise ValueError", "raise"), []),
        ("def f(a) -> int:\n    return a", ["a docstring"]),
        ('def f(a) -> int:\n    """A number."""\n    def g():\n        raise ValueError\n    return a', []),
        ('def f(a) -> int:\n    """A number."""\n    if a:\n        raise ValueError', ["Raises"]),
    ],
)
def test_the_check_sees_what_a_docstring_lacks(code, lacking):
    assert missing(ast.parse(code).body[0], is_method=False) == lacking
