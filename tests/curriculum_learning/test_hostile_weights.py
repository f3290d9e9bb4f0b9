"""Files of weights from strangers: whatever they hold, nothing is called, little is taken, and the process lives."""

import io
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from hf_curriculum.curriculum_learning.pickled import plain_array, read_pickled
from hf_curriculum.curriculum_learning.weights_file import StoredWeights, convert_weights, read_weights, write_weights

pytestmark = pytest.mark.costly

N = 12
RNG = np.random.default_rng(0)
WEIGHTS, FEATURES = RNG.random(N).astype(np.float32), RNG.normal(size=(N, 3)).astype(np.float32)
HEADER = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
DTYPE = b"cnumpy\ndtype\n\x8c\x02%b\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
OBJECT = b"cnumpy\ndtype\n\x8c\x02O8\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
EMPTY = b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


def array_of(dtype, shape, content):
    return EMPTY + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def integer(value):
    return b"\x8a\x08" + value.to_bytes(8, "little")


def dictionary(**entries):
    """A file of the reference code whose entries are these pieces of a pickle."""
    items = b"".join(b"\x8c" + bytes([len(name)]) + name.encode() + value for name, value in entries.items())
    return HEADER + b"\x80\x04" + array_of(OBJECT, b")", b"](}(" + items + b"ue") + b"."


WEIGHT_PIECE = array_of(DTYPE % b"f4", b"K\x0c\x85", b"C\x30" + WEIGHTS.tobytes())


def refused(tmp_path, content):
    (tmp_path / "old.npy").write_bytes(content)
    with pytest.raises(ValueError, match="old.npy cannot be converted: .+") as found:
        convert_weights(tmp_path / "old.npy", tmp_path / "new.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.npy"]
    assert len(str(found.value)) < 1_000
    return str(found.value)


# --- what is real ---------------------------------------------------------------------------------------------------

ARRAYS = {
    "float16": WEIGHTS.astype(np.float16),
    "float64": WEIGHTS.astype(np.float64),
    "longdouble": WEIGHTS.astype(np.longdouble),
    "big-endian": WEIGHTS.astype(">f4"),
    "strided": np.repeat(WEIGHTS, 2)[::2],
}
LABELS = {
    "int64": np.arange(N) % 3,
    "big-endian": (np.arange(N) % 3).astype(">i2"),
    "bool": np.arange(N) % 2 == 0,
    "strings": np.array(["cat", "Žlutý", "犬"] * (N // 3)),
    "big-endian strings": np.array(["cat", "Žlutý", "犬"] * (N // 3)).astype(">U5"),
    "bytes": np.array([b"cat", b"dog"] * (N // 2)),
    "objects": np.array(["cat", "dog"] * (N // 2), object),
    "list": ["cat", "dog"] * (N // 2),
    "list of numpy": [np.str_("cat"), np.int64(3)] * (N // 2),
}


@pytest.mark.parametrize("core", [b"numpy._core", b"numpy.core"], ids=["numpy2", "numpy1"])
@pytest.mark.parametrize("protocol", range(6))
def test_real_files_of_each_protocol_and_numpy_are_converted(tmp_path, protocol, core):
    cases = [(weights, None, None) for weights in ARRAYS.values()]
    cases += [(WEIGHTS, FEATURES, labels) for labels in LABELS.values()]
    cases += [(WEIGHTS, np.asfortranarray(FEATURES), None), (WEIGHTS, FEATURES.astype(">f8")[:, ::-1], None)]
    for weights, features, labels in cases:
        content = {"weights": weights, "n_clusters": np.int64(4), "features": features, "labels": labels}
        pickled = pickle.dumps(np.asanyarray(content), protocol).replace(b"numpy._core", core)
        if core == b"numpy.core":  # a name is one letter shorter
            pickled = pickled.replace(b"\x8c\x16numpy.core.multi", b"\x8c\x15numpy.core.multi")
            pickled = pickled.replace(b"\x8c\x13numpy.core.num", b"\x8c\x12numpy.core.num")
            pickled = pickled if protocol < 4 else pickled[:2] + pickled[11:]  # and so is its frame
        (tmp_path / "old.npy").write_bytes(HEADER + pickled)
        found = read_weights(convert_weights(tmp_path / "old.npy", tmp_path / "new.npy"))
        assert np.array_equal(found.weights, weights) and found.weights.dtype == weights.dtype
        assert found.n_clusters == 4
        assert features is None and found.features is None or np.array_equal(found.features, features)
        if labels is None:
            assert found.labels is None
        else:
            wanted = labels if isinstance(labels, np.ndarray) and not labels.dtype.hasobject else map(str, labels)
            assert found.labels.tolist() == list(wanted)


def test_the_pieces_of_the_hostile_files_below_make_a_whole_one(tmp_path):
    (tmp_path / "old.npy").write_bytes(dictionary(weights=WEIGHT_PIECE, n_clusters=b"K\x04"))
    found = read_weights(convert_weights(tmp_path / "old.npy", tmp_path / "new.npy"))
    assert np.array_equal(found.weights, WEIGHTS)


# --- what is hostile ------------------------------------------------------------------------------------------------

BYTES = b"C\x60" + bytes(96)
HOSTILE = {
    # numpy.ndarray(shape, dtype, buffer) over bytes of the file: pointers of its choice
    "called array": (b"cnumpy\nndarray\nK\x0c\x85" + OBJECT + BYTES + b"\x87R", "it has a array where"),
    "objects of bytes": (array_of(OBJECT, b"K\x0c\x85", BYTES), "objects that are not as many"),
    "objects in a buffer": (
        b"cnumpy._core.numeric\n_frombuffer\n(" + BYTES + OBJECT + b"K\x0c\x85\x8c\x01CtR",
        "objects that are not as many",
    ),
    "object scalar": (
        b"cnumpy._core.multiarray\nscalar\n" + OBJECT + b"C\x08" + bytes(8) + b"\x86R",
        "type 'O8', which",
    ),
    "called type": (b"cnumpy\ndtype\n]\x85R", "where an array has to be"),
    "made anew": (b"cnumpy\nndarray\nK\x0c\x85\x81", "operation NEWOBJ"),
    "state of a type": (b"cnumpy\nndarray\n}b", "has no _Record"),
    "state of a dictionary": (b"}}b", "has no _Record"),
    "state of a call": (b"cnumpy\ndtype\n)R}R", "it calls a dtype"),
    "type of another type": (
        array_of(DTYPE % b"V8", b"K\x0c\x85", BYTES),
        "type 'V8', which is neither numbers nor strings",
    ),
    "type of fields": (
        array_of(DTYPE.replace(b"NNN", b"N\x8c\x01a\x85}") % b"f4", b"K\x0c\x85", BYTES),
        "type with parts",
    ),
    "type that is a list": (array_of(b"cnumpy\ndtype\n]\x85R", b"K\x0c\x85", BYTES), "type list"),
    "negative shape": (array_of(DTYPE % b"f4", b"J\xff\xff\xff\xff\x85", BYTES), "neither a column nor a matrix"),
    "huge shape": (array_of(DTYPE % b"f4", integer(2**40) + b"\x85", BYTES), "array of 96 bytes, not those"),
    "shape that overflows": (
        array_of(DTYPE % b"f4", integer(2**47) + integer(2**47) + b"\x86", BYTES),
        "array of 96 bytes, not those",
    ),
    "more than it has": (array_of(DTYPE % b"f8", b"K\x0d\x85", BYTES), "array of 96 bytes, not those"),
    "no such character": (array_of(DTYPE % b"U2", b"K\x0c\x85", b"C\x60" + b"\xff" * 96), "does not exist"),
    "extension": (b"\x82\x01", "operation EXT1"),
    "persistent": (b"Pabc\n", "operation PERSID"),
    "instance": (b"(ios\nsystem\n", "operation INST"),
    "object": (b"(cnumpy\nndarray\no", "operation OBJ"),
    "huge memo": (b"Nr\xff\xff\xff\x7f", "it has no weights"),
    "huge integer": (b"\x8b\xff\xff\x00\x00" + b"\x7f" * 65_535, "more than 64 bits"),
    "long digits": (b"L" + b"9" * 10_000 + b"L\n", ".+"),
    "in itself": (b"]q\x00h\x00a", "a list where a number or a string has to be"),
    "doubled": (b"]" + b"".join(b"q%b0](h%bh%be" % ((bytes([i]),) * 3) for i in range(80)), "a list where a number"),
    "doubled type": (
        array_of(
            b"cnumpy\ndtype\n]" + b"".join(b"q%b0](h%bh%be" % ((bytes([i]),) * 3) for i in range(80)) + b"\x85R",
            b"K\x0c\x85",
            BYTES,
        ),
        "type list",
    ),
    "deep": (b"(" * 50_000 + b"l" * 50_000, "a list where a number or a string has to be"),
    "deep tuples": (b")" + b"\x85" * 100_000, "a tuple where a number or a string has to be"),
    "deep dictionaries": (
        b"}" + b"\x8c\x01a}" * 50_000 + b"s" * 50_000,
        "a dict where a number or a string has to be",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_array_needs_is_refused(tmp_path, name):
    piece, message = HOSTILE[name]
    found = refused(tmp_path, dictionary(n_clusters=b"K\x04", weights=piece))
    assert re.search(message, found), found


def test_the_file_that_ended_the_process_is_refused_by_the_command(tmp_path):
    (tmp_path / "evil.npy").write_bytes(
        dictionary(
            weights=WEIGHT_PIECE,
            n_clusters=b"K\x04",
            labels=b"cnumpy\nndarray\nK\x0c\x85" + OBJECT + b"C\x60" + b"\x41" * 96 + b"\x87R",
        )
    )
    command = [sys.executable, "-m", "hf_curriculum.curriculum_learning.weights_file", "evil.npy", "new.npy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment())
    assert done.returncode == 2 and done.stderr.startswith("Error: evil.npy cannot be converted: ")
    assert not (tmp_path / "new.npy").exists()


def test_labels_that_would_fill_the_memory_as_strings_are_refused(tmp_path):
    n = 50_000
    weights = array_of(DTYPE % b"f4", integer(n) + b"\x85", b"B" + (4 * n).to_bytes(4, "little") + bytes(4 * n))
    long = b"X" + (100_000).to_bytes(4, "little") + b"a" * 100_000 + b"q\x63"
    labels = b"](" + long + b"h\x63" * (n - 1) + b"e"
    (tmp_path / "old.npy").write_bytes(dictionary(weights=weights, n_clusters=b"K\x04", labels=labels))
    with pytest.raises(ValueError, match="labels would take 20,000,000,000 bytes as strings"):
        convert_weights(tmp_path / "old.npy", tmp_path / "new.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["old.npy"]


FUZZ = """
import sys
import numpy as np
from hf_curriculum.curriculum_learning.weights_file import convert_weights
from pathlib import Path

folder, kind = Path(sys.argv[1]), sys.argv[2]
rng = np.random.default_rng(0)
seeds = [path.read_bytes() for path in sorted(folder.glob("seed*"))]
ops = [bytes([code]) for code in b"().012FGIJKLMNPQRSTUVXabcdeghijlopqrstu}]" + bytes(range(0x80, 0x99)) + b"BC"]
heads = [b"cnumpy\\nndarray\\n", b"cnumpy\\ndtype\\n", b"cnumpy._core.multiarray\\n_reconstruct\\n", b"N",
         b"cnumpy._core.numeric\\n_frombuffer\\n", b"\\x8c\\x02O8", b"\\x8c\\x02f4", b"K\\x01\\x85",
         b"C\\x08abcdefgh", b"cos\\nsystem\\n"]
allowed, forbidden = {"os.rename", "os.remove", "os.listdir"}, []
sys.addaudithook(lambda event, _: forbidden.append(event) if watching and event.split(".")[0] in
                 ("os", "subprocess", "pickle", "socket", "ctypes", "shutil")
                 and event not in allowed else None)
watching, outcomes = False, {"refused": 0, "converted": 0}


def mutated(data):
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at, how = rng.integers(len(data)), rng.integers(5)
        if how == 0: data[at] ^= 1 << rng.integers(8)
        elif how == 1: data[at:at] = ops[rng.integers(len(ops))]
        elif how == 2: del data[at : at + rng.integers(1, 9)]
        elif how == 3: data[at:at] = heads[rng.integers(len(heads))]
        else: data[at] = rng.integers(256)
    return bytes(data)


def generated():
    parts = [(heads if rng.random() < 0.5 else ops) for _ in range(rng.integers(1, 40))]
    return seeds[0][:128] + b"\\x80\\x04" + b"".join(part[rng.integers(len(part))] for part in parts) + b"."


old, new = folder / "old.npy", folder / "new.npy"
for trial in range(int(sys.argv[3])):
    content = mutated(seeds[rng.integers(len(seeds))]) if kind == "mutated" else generated()
    old.write_bytes(content)
    watching = True
    try:
        convert_weights(old, new)
        outcomes["converted"] += 1
    except ValueError:
        outcomes["refused"] += 1
    watching = False
    if forbidden:
        sys.exit(f"trial {trial}: {forbidden}")
print(outcomes)
"""


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("kind, trials", [("mutated", 3000), ("generated", 3000)])
def test_no_damaged_or_made_up_file_ends_the_process_or_calls_anything(tmp_path, kind, trials):
    for protocol in range(2, 6):
        for number, labels in enumerate((None, LABELS["strings"], LABELS["objects"])):
            content = {"weights": WEIGHTS, "n_clusters": 4, "features": FEATURES, "labels": labels}
            pickled = pickle.dumps(np.asanyarray(content), protocol)
            (tmp_path / f"seed{protocol}{number}").write_bytes(HEADER + pickled)
    command = [sys.executable, "-c", FUZZ, str(tmp_path), kind, str(trials)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    outcomes = eval(done.stdout)
    assert outcomes["refused"] > trials / 4 and sum(outcomes.values()) == trials
    assert kind == "generated" or outcomes["converted"] > 50  # a flip in a number is none that can be seen


# --- archives -------------------------------------------------------------------------------------------------------


def archive(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in entries:
            file.writestr(name, content)


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def claiming(descr, shape):
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


WHOLE = [("weights.npy", saved(WEIGHTS)), ("n_clusters.npy", saved(np.int64(4)))]


def most_memory(call):
    """Bytes that a call takes at its peak; numpy's are counted too."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_entries_that_nobody_asked_for_are_not_inflated(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npy", "w") as file:
        for name, content in WHOLE:
            file.writestr(name, content)
        with file.open(zipfile.ZipInfo("bomb.npy"), "w", force_zip64=True) as bomb:
            bomb.write(claiming("<f4", (2**60,)))
        file.writestr("zeros.npy", claiming("<f4", (25 * 2**20,)) + bytes(100 * 2**20), zipfile.ZIP_DEFLATED)
    assert most_memory(lambda: read_weights(tmp_path / "weights.npy")) < 2**20
    assert np.array_equal(read_weights(tmp_path / "weights.npy").weights, WEIGHTS)


def test_an_entry_that_would_inflate_is_refused_before_it_does(tmp_path):
    zeros = claiming("<f4", (25 * 2**20,)) + bytes(100 * 2**20)
    with zipfile.ZipFile(tmp_path / "weights.npy", "w") as file:
        file.writestr("n_clusters.npy", saved(np.int64(4)))
        file.writestr("weights.npy", zeros, zipfile.ZIP_DEFLATED)

    def read():
        with pytest.raises(ValueError, match="entry 'weights.npy' is compressed"):
            read_weights(tmp_path / "weights.npy")

    assert most_memory(read) < 2**20


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([*WHOLE, ("weights.npy", saved(WEIGHTS + 1))], "two entries 'weights'"),
        ([*WHOLE, ("weights", saved(WEIGHTS + 1))], "two entries 'weights'"),
        ([WHOLE[0], ("n_clusters.npy", saved(np.array([4])))], "n_clusters is array.*not a whole number"),
        ([WHOLE[0], ("n_clusters.npy", saved(np.float64("nan")))], "not a whole number"),
        ([("weights.npy", claiming("<f4", (2**60,))), WHOLE[1]], "has 0 bytes, not those of float32"),
        ([("weights.npy", claiming("<f4", (2**40, 2**40))), WHOLE[1]], "has 0 bytes, not those of float32"),
        ([("weights.npy", claiming("<f4", (-1,)) + b"abcd"), WHOLE[1]], "of shape"),
        ([("weights.npy", claiming("|O", (1,)) + pickle.dumps([1])), WHOLE[1]], "holds Python objects"),
        ([("weights.npy", claiming([("a", "<f4"), ("b", "|O")], (1,)) + bytes(12)), WHOLE[1]], "holds Python objects"),
        ([("weights.npy", claiming("|V4", (2,)) + bytes(8)), WHOLE[1]], "is an array of"),
        ([("weights.npy", claiming("<U0", (2**50,))), WHOLE[1]], "is an array of"),
        ([("weights.npy", WHOLE[0][1] + b"more"), WHOLE[1]], "has 52 bytes, not those"),
    ],
)
def test_archives_that_lie_are_refused(tmp_path, entries, message):
    archive(tmp_path / "weights.npy", entries)
    with pytest.raises(ValueError, match=f"weights.npy is not a whole file of weights: .*{message}"):
        read_weights(tmp_path / "weights.npy")


def test_every_cut_of_an_archive_is_refused(tmp_path):
    path = write_weights(tmp_path / "weights.npy", StoredWeights(WEIGHTS, 4, FEATURES))
    whole = path.read_bytes()
    for size in range(0, len(whole), 13):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="not a whole file of weights"):
            read_weights(path)


# --- writing --------------------------------------------------------------------------------------------------------


def test_no_link_that_lies_in_wait_is_followed(tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    (tmp_path / "weights.npy.part").symlink_to(treasure)
    (tmp_path / "weights.npy").symlink_to(treasure)
    write_weights(tmp_path / "weights.npy", StoredWeights(WEIGHTS, 4))
    assert treasure.read_text() == "mine" and not (tmp_path / "weights.npy").is_symlink()
    assert np.array_equal(read_weights(tmp_path / "weights.npy").weights, WEIGHTS)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_weights(tmp_path / "weights.npy", StoredWeights(WEIGHTS, 4))
    before = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, limit[1]))
    try:
        with pytest.raises(OSError):
            write_weights(path, StoredWeights(np.zeros(10_000), 4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, old)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_record_is_read_once_and_its_arrays_are_not_those_of_the_file():
    content = {"weights": WEIGHTS, "other": np.array([{"a": 1}], object)}
    entries = read_pickled(pickle.dumps(np.asanyarray(content), 4))
    assert np.array_equal(plain_array(entries["weights"]), WEIGHTS)
    with pytest.raises(ValueError, match="a dict where a number or a string has to be"):
        plain_array(entries["other"])
