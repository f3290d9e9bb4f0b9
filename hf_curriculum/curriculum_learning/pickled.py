"""Pickled arrays read as plain data: op by op, without an unpickler, so that nothing a file names is called."""

import io
import math
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_OPS = 20_000_000  # labels that are Python objects take two or three a row; each op may hold a hundred bytes
_MOST_SCALAR = 4_096  # bytes of a number or string of numpy
_CODE = re.compile(r"[biu][1248]|f(?:2|4|8|16)|[SU][1-9]\d{0,5}")
_OBJECT = re.compile(r"O[48]?")


class _Global(Enum):
    """What a pickled array names, for us words without a meaning outside this file."""

    ARRAY, DTYPE, EMPTY, SCALAR, BUFFER, ENCODE = range(6)


_GLOBALS = {
    ("numpy", "ndarray"): _Global.ARRAY,
    ("numpy", "dtype"): _Global.DTYPE,
    ("_codecs", "encode"): _Global.ENCODE,  # bytes in the protocols of Python 2
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Global.EMPTY for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Global.SCALAR for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _Global.BUFFER for core in ("core", "_core")},
}


@dataclass(eq=False)
class _Record:
    """A call that the file asks for, and the state that the result would be given; neither is done."""

    name: _Global
    arguments: tuple[Any, ...]
    state: Any = None


def read_pickled(data: bytes) -> dict[str, Any]:
    """The dictionary that ``numpy.save`` pickled.

    Args:
        data: The pickle: an array of no dimension, of one object.

    Returns:
        Its entries. Arrays are those of :func:`plain_array`; they are made here, from bytes of the right number.

    Raises:
        ValueError: If it is anything else, is damaged, or names what no array needs, which the message then names.
    """
    _, shape, dtype, _, content = _array_state(_Reader().read(data))
    if shape != () or not _is_object(dtype) or not isinstance(content, list) or len(content) != 1:
        raise ValueError("it holds no single object")
    if not isinstance(content[0], dict):
        raise ValueError(f"it holds a {type(content[0]).__name__}, not the dictionary of the reference code")
    return content[0]


def plain_array(value: Any) -> NDArray[Any]:
    """An entry as an array of numbers, strings or, from a list, objects that are such.

    Raises:
        ValueError: If it is none, or its bytes, its shape and its type do not agree.
    """
    if not isinstance(value, _Record) or value.name is _Global.SCALAR:
        return _objects(value) if isinstance(value, list) else np.asarray(_scalar(value))
    _, shape, dtype, order, content = _array_state(value)
    if not isinstance(shape, tuple) or len(shape) > 2 or not all(_is_length(length) for length in shape):
        raise ValueError("it has an array that is neither a column nor a matrix")
    if not _is_object(dtype):
        return _numbers(_dtype(dtype), _bytes(content), shape, order)
    if not isinstance(content, list) or len(content) != math.prod(shape):
        raise ValueError("it has an array of objects that are not as many as its shape says")
    return _objects(content).astype(object).reshape(shape, order=order)


def _objects(items: list[Any]) -> NDArray[Any]:
    scalars = [_scalar(item) for item in items]
    if all(isinstance(scalar, int | float) for scalar in scalars):
        return np.asarray(scalars)
    array = np.empty(len(scalars), object)  # not strings, which all take as much as the longest
    array[:] = scalars
    return array


def _numbers(dtype: np.dtype[Any], content: bytes, shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    if len(content) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it has an array of {len(content)} bytes, not those of {dtype} of shape {shape}")
    array = np.frombuffer(content, dtype).reshape(shape, order=order)
    if dtype.kind == "U" and array.size and (points := _points(array)).max() > 0x10FFFF:
        raise ValueError(f"it has a string with the character {points.max():#x}, which does not exist")
    return array


def _points(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))


def _array_state(record: Any) -> tuple[Any, Any, Any, Any, Any]:
    """Version, shape, dtype, order and content of an array, as the file gives them."""
    if isinstance(record, _Record) and record.name is _Global.BUFFER and len(record.arguments) == 4:
        content, dtype, shape, order = record.arguments
        state = (1, shape, dtype, order == "F", content) if order in ("C", "F") else None
    else:
        state = record.state if isinstance(record, _Record) and record.name is _Global.EMPTY else None
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[3], int):
        raise ValueError(f"it has a {_kind(record)} where an array has to be")
    return (*state[:3], "F" if state[3] else "C", state[4])


def _dtype(record: Any) -> np.dtype[Any]:
    """The type of numbers or strings, none of whose parts is a name that numpy would look up."""
    code = record.arguments[0] if _is_dtype(record) else None
    state = (3, "|", None, None, None) if _is_dtype(record) and record.state is None else getattr(record, "state", ())
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        shown = repr(code[:40]) if isinstance(code, str) else _kind(code)
        raise ValueError(f"it has an array of type {shown}, which is neither numbers nor strings")
    if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "=", "|") or any(state[2:5]):
        raise ValueError("it has an array of a type with parts, which is neither numbers nor strings")
    try:
        return np.dtype(code).newbyteorder(state[1])
    except TypeError as error:
        raise ValueError(f"it has an array of type {code!r}, which this machine does not have") from error


def _is_object(dtype: Any) -> bool:
    return _is_dtype(dtype) and isinstance(code := dtype.arguments[0], str) and bool(_OBJECT.fullmatch(code))


def _is_dtype(record: Any) -> bool:
    return isinstance(record, _Record) and record.name is _Global.DTYPE and len(record.arguments) > 0


def _scalar(value: Any) -> Any:
    """A number or string as Python's."""
    if isinstance(value, _Record) and value.name is _Global.SCALAR and len(value.arguments) == 2:
        content = _bytes(value.arguments[1])
        if len(content) > _MOST_SCALAR:
            raise ValueError(f"it has a number or string of {len(content):,} bytes")
        return _numbers(_dtype(value.arguments[0]), content, (), "C").item()
    if value is not None and not isinstance(value, str | int | float | bytes):
        raise ValueError(f"it has a {_kind(value)} where a number or a string has to be")
    return value


def _bytes(value: Any) -> bytes:
    if isinstance(value, _Record) and value.name is _Global.ENCODE and value.arguments[1:] == ("latin1",):
        value = value.arguments[0].encode("latin1") if isinstance(value.arguments[0], str) else None
    if not isinstance(value, bytes | bytearray):
        raise ValueError(f"it has a {_kind(value)} where bytes have to be")
    return bytes(value)


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**48


def _kind(value: Any) -> str:
    return value.name.name.lower() if isinstance(value, _Record) else type(value).__name__


class _Reader:
    """The stack machine of ``pickle`` for containers, numbers, strings and records; other ops are refused."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under the marks
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        for number, (op, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if number == _MOST_OPS:
                raise ValueError(f"it has more than {_MOST_OPS:,} operations")
            if op.name == "STOP":
                break
            if op.name in _LITERALS:
                self.stack.append(_LITERALS[op.name])
            elif op.name in _CONSTANTS:
                self.stack.append(_checked(argument))
            elif op.name in _OPS:
                _OPS[op.name](self, argument)
            else:
                raise ValueError(f"it has the operation {op.name}, which no array needs")
        if len(self.stack) != 1 or self.below:
            raise ValueError("it does not end as a pickle does")
        return self.stack[0]

    def pop(self) -> Any:
        if not self.stack:
            raise ValueError("it takes something where nothing is")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        if not self.below:
            raise ValueError("it ends a list that it did not begin")
        items, self.stack = self.stack, self.below.pop()
        return items

    def top(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise ValueError(f"it has no {kind.__name__} where one has to be")
        return self.stack[-1]

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(items)))

    def collect(self, kind: type) -> None:
        items = self.pop_mark()
        self.stack.append(kind(items))

    def append(self, _: Any) -> None:
        item = self.pop()
        self.top(list).append(item)

    def appends(self, _: Any) -> None:
        items = self.pop_mark()
        self.top(list).extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.fill([key, value])

    def set_items(self, _: Any) -> None:
        self.fill(self.pop_mark())

    def fill(self, items: list[Any]) -> None:
        keys = items[::2]
        if len(items) % 2 or not all(isinstance(key, str) for key in keys):
            raise ValueError("it has a dictionary whose keys are not all strings")
        self.top(dict).update(zip(keys, items[1::2], strict=True))

    def new_dict(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.fill(items)

    def put(self, index: Any) -> None:
        self.memo[int(index)] = self.top(object)

    def get(self, index: Any) -> None:
        if int(index) not in self.memo:
            raise ValueError("it repeats what it did not remember")
        self.stack.append(self.memo[int(index)])

    def name(self, words: str) -> None:
        self.look_up(*words.split(" ", 1))

    def stack_name(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.look_up(module, name)

    def look_up(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or (module, name) not in _GLOBALS:
            raise ValueError(
                f"it asks for the global {str(module)[:100]}.{str(name)[:100]}, which no array needs; such a file may "
                "run code when it is unpickled, so do not load it by other means unless you trust where it comes from"
            )
        self.stack.append(_GLOBALS[module, name])

    def reduce(self, _: Any) -> None:
        arguments, name = self.pop(), self.pop()
        if not isinstance(name, _Global) or not isinstance(arguments, tuple):
            raise ValueError(f"it calls a {_kind(name)}")
        self.stack.append(_Record(name, arguments))

    def build(self, _: Any) -> None:
        state = self.pop()
        record = self.top(_Record)
        if record.state is not None:
            raise ValueError("it changes an array that is made already")
        record.state = state


_CONSTANTS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}
_CONSTANTS |= {"FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"}
_CONSTANTS |= {"BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_LITERALS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_OPS: dict[str, Callable[[_Reader, Any], Any]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda reader, _: None),
    "EMPTY_LIST": lambda reader, _: reader.stack.append([]),
    "EMPTY_DICT": lambda reader, _: reader.stack.append({}),
    "EMPTY_TUPLE": lambda reader, _: reader.tuple_of(0),
    "TUPLE1": lambda reader, _: reader.tuple_of(1),
    "TUPLE2": lambda reader, _: reader.tuple_of(2),
    "TUPLE3": lambda reader, _: reader.tuple_of(3),
    "TUPLE": lambda reader, _: reader.collect(tuple),
    "LIST": lambda reader, _: reader.collect(list),
    "DICT": _Reader.new_dict,
    "MARK": _Reader.mark,
    "POP": lambda reader, _: reader.pop(),
    "POP_MARK": lambda reader, _: reader.pop_mark(),
    "DUP": lambda reader, _: reader.stack.append(reader.top(object)),
    "APPEND": _Reader.append,
    "APPENDS": _Reader.appends,
    "SETITEM": _Reader.set_item,
    "SETITEMS": _Reader.set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Reader.put),
    "MEMOIZE": lambda reader, _: reader.put(len(reader.memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Reader.get),
    "GLOBAL": _Reader.name,
    "STACK_GLOBAL": _Reader.stack_name,
    "REDUCE": _Reader.reduce,
    "BUILD": _Reader.build,
}


def _checked(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("it has an integer of more than 64 bits")
    return value
