"""What code names: variables of its module, modules that it imports; and which of these its module writes into."""

import ast
import dis
import functools
import re
import types
from pathlib import Path
from typing import Any

_MODULE = re.compile(r"\.*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_CHANGES = frozenset(
    "append extend insert add update setdefault pop popitem popleft appendleft remove discard clear".split()
)


def names_in(code: types.CodeType) -> tuple[frozenset[str], frozenset[tuple[str, int]], frozenset[str]]:
    """Of code and all in it: names and strings, modules that it imports, variables of its module."""
    names, imported, variables = set(code.co_names), set(), set()
    names |= {constant for constant in code.co_consts if isinstance(constant, str)}  # getattr(module, "name")
    constants: list[Any] = []
    for step in dis.get_instructions(code):
        if step.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            constants.append(step.argval)
        elif step.opname == "IMPORT_NAME":
            imported.add((step.argval, constants[-2] if isinstance(constants[-2], int) else 0))
        elif "GLOBAL" in step.opname or step.opname == "LOAD_NAME":
            variables.add(step.argval)
    if not names.isdisjoint(("import_module", "__import__")):
        words = (constant for constant in code.co_consts if isinstance(constant, str) and _MODULE.fullmatch(constant))
        imported |= {(word.lstrip("."), len(word) - len(word.lstrip("."))) for word in words}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            more = names_in(inner)
            names, imported, variables = names | more[0], imported | more[1], variables | more[2]
    return frozenset(names), frozenset(imported), frozenset(variables)


def source_of(module: types.ModuleType | None) -> str:
    """The text of a module's file; empty where there is none that can be read."""
    path = getattr(module, "__file__", None)
    try:
        return Path(path).read_text() if path and path.endswith(".py") else ""
    except (OSError, UnicodeDecodeError):
        return ""


def written_names(module: types.ModuleType | None) -> frozenset[str]:
    """Names that functions of a module write into, and those that begin empty."""
    return _written(source_of(module))


@functools.lru_cache(maxsize=256)
def _written(source: str) -> frozenset[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return frozenset()
    found: set[str | None] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.update(node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
            found.add(_last_name(node.func.value))
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
            targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
            targets = [one for target in targets for one in getattr(target, "elts", [target])]
            if not isinstance(node, ast.Delete) and _is_empty(node.value):
                found.update(_last_name(target) for target in targets)
            found.update(_last_name(target.value) for target in targets if isinstance(target, ast.Subscript))
            found.update(target.attr for target in targets if isinstance(target, ast.Attribute) and not _own(target))
    return frozenset(name for name in found if name)


def _own(target: ast.Attribute) -> bool:
    return isinstance(target.value, ast.Name) and target.value.id == "self"


def _last_name(node: ast.AST) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _is_empty(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Dict):
        return not node.keys
    if isinstance(node, ast.List | ast.Set | ast.Tuple):
        return not isinstance(node, ast.Tuple) and not node.elts
    makers = ("list", "dict", "set", "deque", "defaultdict", "Counter", "OrderedDict")
    if not isinstance(node, ast.Call) or _last_name(node.func) not in makers:
        return False
    return not node.args or _last_name(node.func) == "defaultdict"
