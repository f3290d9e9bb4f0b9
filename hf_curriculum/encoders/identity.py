"""A hash of what a value is and does: data by its content, the user's code by its bytecode and all that it reaches."""

import copyreg
import enum
import functools
import importlib
import importlib.metadata
import importlib.util
import logging
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hf_curriculum.encoders.packages import edition, hashed, is_installed, is_path_installed
from hf_curriculum.encoders.reach import names_in, source_of, written_names
from hf_curriculum.encoders.tokens import tokenizer_parts

_PLAIN = type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented)
_NAMED = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
)
_WITHOUT_INFLUENCE = (
    type(threading.Lock()),
    type(threading.RLock()),
    threading.local,
    logging.Logger,
    weakref.WeakKeyDictionary,  # of these two, caches
    weakref.WeakValueDictionary,
)
_NOT_OF_A_CLASS = frozenset(
    "__dict__ __weakref__ __module__ __doc__ __annotations__ __annotate__ __annotate_func__ __annotations_cache__ "
    "__firstlineno__ __static_attributes__ __abstractmethods__ _abc_impl __dataclass_fields__ __dataclass_params__ "
    "__parameters__ __orig_bases__ __qualname__ __slotnames__".split()
)


def digest(value: Any) -> str:
    """A hash that two interpreters agree on, and that changes with whatever could change what ``value`` does.

    Data count by their content, a tensor or a tokenizer too; functions and classes of installed libraries by name and
    edition of the library; all others by their bytecode, defaults, closures and bases, and by what of their modules
    they name. Variables of a module that its own functions write into, or that begin empty (a log, a counter, a
    cache), count as they were when this process first met them.

    Args:
        value: Anything.

    Returns:
        Hexadecimal digits.

    Raises:
        Exception: If something in it can be neither hashed nor pickled, such as a generator or an open session.
    """
    return _Walk().digest(value).hex()


class _Walk:
    """One hash: what is met again is not read again, and what contains itself ends."""

    def __init__(self) -> None:
        self.done: dict[int, bytes] = {}
        self.open: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no two things have one id

    def digest(self, value: Any) -> bytes:
        if type(value) in _PLAIN:
            return hashed(type(value).__name__, repr(value))
        key = id(value)
        if key in self.open:
            return hashed("again", str(self.open[key]))
        if key not in self.done:
            self.kept.append(value)
            self.open[key] = len(self.open)
            self.done[key] = hashed(*self._parts(value))
            del self.open[key]
        return self.done[key]

    def _all(self, *values: Any) -> Iterator[bytes]:
        return map(self.digest, values)

    def _parts(self, value: Any) -> Iterator[str | bytes | memoryview]:  # noqa: C901 - a table of types
        kind = type(value)
        if isinstance(value, type):
            yield from self._class(value)
        elif kind in (list, tuple):
            yield kind.__name__
            yield from self._all(*value)
        elif kind in (set, frozenset):
            yield kind.__name__
            yield from sorted(self._all(*value))
        elif kind in (dict, types.MappingProxyType):
            yield "dict"
            yield from self._all(*(part for item in value.items() for part in item))
        elif isinstance(value, torch.Tensor):
            plain = value.detach().cpu().contiguous()
            yield from (kind.__name__, str(plain.dtype), str(tuple(plain.shape)))
            yield plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b""
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield from ("array", value.dtype.str, str(value.shape))
            yield np.ascontiguousarray(value).tobytes()
        elif isinstance(value, enum.Enum):
            yield "enum"
            yield from self._all(kind, value.name, value.value)
        elif isinstance(value, PreTrainedTokenizerBase):
            yield "tokenizer"
            yield from self._all(*tokenizer_parts(value))
        elif isinstance(value, _WITHOUT_INFLUENCE):
            yield from ("without influence", kind.__qualname__)
        elif isinstance(value, types.ModuleType):
            yield from self._module(value)
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, types.CodeType):
            yield from self._code(value)
        elif isinstance(value, types.CellType):
            yield "cell"
            yield from self._all(*_contents(value))
        elif isinstance(value, types.MethodType):
            yield "method"
            yield from self._all(value.__func__, value.__self__)
        elif isinstance(value, classmethod | staticmethod):
            yield kind.__name__
            yield self.digest(value.__func__)
        elif isinstance(value, property):
            yield "property"
            yield from self._all(value.fget, value.fset, value.fdel)
        elif isinstance(value, functools.cached_property):
            yield from ("cached_property", self.digest(value.func))
        elif hasattr(value, "cache_info") and hasattr(value, "__wrapped__"):
            yield from ("cache", self.digest(value.__wrapped__))
        elif isinstance(value, weakref.ref):
            yield from ("weak", self.digest(value()))
        elif isinstance(value, types.BuiltinFunctionType):
            owner = value.__self__
            module = owner is None or isinstance(owner, types.ModuleType)
            yield from ("builtin", str(value.__module__), value.__qualname__)
            yield from () if module else self._all(owner)
        elif isinstance(value, _NAMED):
            yield from ("named", value.__qualname__)
        else:
            yield from self._reduced(value)

    def _reduced(self, value: Any) -> Iterator[str | bytes]:
        """Any other object: what it would be made from."""
        reduce = copyreg.dispatch_table.get(type(value))
        made = reduce(value) if reduce else value.__reduce_ex__(4)
        yield "object"
        yield self.digest(type(value))
        if isinstance(made, str):
            yield made
            return
        parts: tuple[Any, ...] = made
        yield from self._all(*parts[:3], *map(list, filter(None, parts[3:5])))

    def _class(self, found: type) -> Iterator[str | bytes]:
        yield from ("class", found.__module__, found.__qualname__)
        if is_installed(sys.modules.get(found.__module__), found.__module__):
            yield edition(found.__module__)
            return
        yield from self._all(type(found), *found.__bases__)
        written = written_names(sys.modules.get(found.__module__))
        for name in sorted(vars(found).keys() - _NOT_OF_A_CLASS):
            yield from (name, self._variable(found, f"{found.__module__}.{found.__qualname__}", name, written))

    def _function(self, function: types.FunctionType) -> Iterator[str | bytes]:
        module = function.__globals__.get("__name__", "")
        if is_path_installed(function.__code__.co_filename) or module.partition(".")[0] == "hf_curriculum":
            yield from ("function", module, function.__code__.co_name, function.__qualname__, edition(module))
            yield from self._all(*(function.__closure__ or ()))
            return
        yield "function"
        yield from self._all(function.__code__, function.__defaults__, function.__kwdefaults__)
        yield from self._all(*(function.__closure__ or ()))
        yield self.digest({name: value for name, value in vars(function).items() if name != "__wrapped__"})
        names, imported, variables = names_in(function.__code__)
        written = written_names(sys.modules.get(module))
        for name in sorted(variables & function.__globals__.keys()):
            value = function.__globals__[name]
            yield name
            if isinstance(value, types.ModuleType):
                yield from self._module(value, names)
            else:
                yield self._variable(function.__globals__, module, name, written)
        for name, level in sorted(imported):
            yield from self._imported(name, level, function, names)

    def _imported(self, name: str, level: int, function: Any, names: frozenset[str]) -> Iterator[str | bytes]:
        package = function.__globals__.get("__package__") or ""
        name = importlib.util.resolve_name("." * level + name, package) if level else name
        top = name.partition(".")[0]
        yield name
        if top in sys.stdlib_module_names:
            return
        found = sys.modules.get(top)
        spec = found and found.__spec__ or importlib.util.find_spec(top)
        if spec is None or is_path_installed(spec.origin or ""):
            yield edition(top)
            return
        importlib.import_module(name)
        while name:  # `import a.b` names a, and all on the way
            yield from self._module(sys.modules[name], names)
            name = name.rpartition(".")[0]

    def _code(self, code: types.CodeType) -> Iterator[str | bytes]:
        yield "code"
        yield code.co_code
        yield from (getattr(code, "co_exceptiontable", b""), str((code.co_argcount, code.co_kwonlyargcount)))
        yield from (*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars, "|", *code.co_cellvars)
        yield from (str(code.co_posonlyargcount), str(code.co_flags))
        yield from self._all(*code.co_consts)

    def _module(self, module: types.ModuleType, names: frozenset[str] | None = None) -> Iterator[str | bytes]:
        """A module as far as code names what is in it; all of it where an object holds it."""
        yield from ("module", module.__name__)
        if is_installed(module, module.__name__):
            yield edition(module.__name__)
            return
        written = written_names(module)
        named = {name for name in vars(module) if not name.startswith("__")}
        for name in sorted(named if names is None else named & names):
            value = vars(module)[name]
            yield name
            if isinstance(value, types.ModuleType):
                if id(value) not in self.open:
                    self.open[id(value)] = len(self.open)
                    yield from self._module(value, names)
                    del self.open[id(value)]
            else:
                yield self._variable(vars(module), module.__name__, name, written)

    def _variable(self, owner: Any, place: str, name: str, written: frozenset[str]) -> bytes:
        value = vars(owner)[name] if isinstance(owner, type) else owner[name]
        if name not in written or isinstance(value, type | types.FunctionType):
            return self.digest(value)
        source = source_of(sys.modules.get(place) or sys.modules.get(place.rpartition(".")[0]))
        first = place, name, hashed(source)
        if first not in _FIRST_MET:
            _FIRST_MET[first] = _Walk().digest(value)
        return _FIRST_MET[first]


_FIRST_MET: dict[tuple[str, str, bytes], bytes] = {}


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # empty
        return ()
