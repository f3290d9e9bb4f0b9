"""Weights on disk without pickle, and files of the reference code, pickles that may be hostile."""

import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.lib import format as npy

from hf_curriculum.curriculum_learning.weights_file import StoredWeights, convert_weights, read_weights, write_weights

N = 12
RNG = np.random.default_rng(0)
WEIGHTS, FEATURES = RNG.random(N).astype(np.float32), RNG.normal(size=(N, 3)).astype(np.float32)
LABELS = {
    "integers": np.arange(N) % 3,
    "strings": np.array(["cat", "dog"] * (N // 2)),
    "objects": np.array(["cat", "dog"] * (N // 2), object),
    "none": None,
}


def save_as_reference(path, content, protocol=None):
    """As the reference code does: ``numpy.save`` of a dictionary, in this numpy or, by protocol 3, in numpy 1."""
    if protocol is None:
        np.save(path, content)
        return
    pickled = pickle.dumps(np.asanyarray(content), protocol)
    path.write_bytes(header() + pickled.replace(b"numpy._core", b"numpy.core"))


def old(**changed):
    return {"weights": WEIGHTS, "n_clusters": 4, "features": FEATURES, "labels": None, **changed}


def header():
    file = io.BytesIO()
    npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(np.array(None)))
    return file.getvalue()


class Runs:
    """A pickle of it runs a command when it is loaded."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("features", [FEATURES, None], ids=["features", "alone"])
@pytest.mark.parametrize("labels", LABELS)
def test_what_is_written_is_read_and_needs_no_pickle(tmp_path, labels, features):
    path = write_weights(tmp_path / "weights.npy", StoredWeights(WEIGHTS, 4, features, LABELS[labels]))
    assert path == tmp_path / "weights.npy" and list(tmp_path.iterdir()) == [path]
    found = read_weights(path)
    assert np.array_equal(found.weights, WEIGHTS) and found.weights.dtype == np.float32
    assert found.n_clusters == 4
    assert features is None and found.features is None or np.array_equal(found.features, features)
    assert labels == "none" and found.labels is None or found.labels.tolist() == LABELS[labels].tolist()
    assert np.array_equal(np.load(path, allow_pickle=False)["weights"], WEIGHTS)


def test_a_name_without_suffix_gets_that_of_numpy(tmp_path):
    assert write_weights(tmp_path / "mine.v2", StoredWeights(WEIGHTS, 4)) == tmp_path / "mine.v2.npy"
    assert np.array_equal(read_weights(tmp_path / "mine.v2").weights, read_weights(tmp_path / "mine.v2.npy").weights)


def test_a_file_of_the_reference_is_refused_with_the_command_that_converts_it(tmp_path):
    path, mark = tmp_path / "old.npy", tmp_path / "mark"
    save_as_reference(path, old(labels=Runs(f"touch {mark}")))
    with pytest.raises(ValueError, match=rf"python -m hf_curriculum.curriculum_learning.weights_file {path} new.npy"):
        read_weights(path)
    assert not mark.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.npy"):
        read_weights(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="absent.npy"):
        convert_weights(tmp_path / "absent.npy", tmp_path / "new.npy")


def test_damaged_files_are_refused(tmp_path):
    path = write_weights(tmp_path / "weights.npy", StoredWeights(WEIGHTS, 4, FEATURES))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[whole.index(WEIGHTS.tobytes())] ^= 1
    for content in (b"", b"PK", b"hello", pickle.dumps(old()), whole[:100], whole[:-40], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights.npy is not a whole file of weights: .*Save it again"):
            read_weights(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"n_clusters": 4}, r"it has no weights, only \['n_clusters'\]"),
        ({"weights": WEIGHTS, "n_clusters": 4, "labels": LABELS["objects"]}, "allow_pickle=False"),
        ({"weights": WEIGHTS[None], "n_clusters": 4}, "weights are not one finite number a row"),
        ({"weights": WEIGHTS * np.nan, "n_clusters": 4}, "weights are not one finite number a row"),
        ({"weights": WEIGHTS, "n_clusters": 4, "features": FEATURES[1:]}, "features are not 12 vectors"),
        ({"weights": WEIGHTS, "n_clusters": 4, "labels": WEIGHTS[1:]}, "labels are not one a row"),
    ],
)
def test_archives_of_something_else_are_refused(tmp_path, arrays, message):
    with (tmp_path / "weights.npy").open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "weights.npy")


# --- conversion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [None, 3], ids=["here", "numpy1"])
@pytest.mark.parametrize("labels", LABELS)
def test_files_of_the_reference_are_converted(tmp_path, labels, protocol):
    save_as_reference(tmp_path / "old.npy", old(labels=LABELS[labels], n_clusters=np.int64(4)), protocol)
    found = read_weights(convert_weights(tmp_path / "old.npy", tmp_path / "new.npy"))
    assert np.array_equal(found.weights, WEIGHTS) and found.weights.dtype == np.float32
    assert found.n_clusters == 4 and np.array_equal(found.features, FEATURES)
    assert labels == "none" and found.labels is None or found.labels.tolist() == LABELS[labels].tolist()


def test_a_file_can_be_converted_in_place(tmp_path):
    save_as_reference(tmp_path / "weights.npy", old(weights=WEIGHTS.astype(np.float64)))
    convert_weights(tmp_path / "weights.npy", tmp_path / "weights.npy")
    assert np.array_equal(read_weights(tmp_path / "weights.npy").weights, WEIGHTS)


@pytest.mark.parametrize("protocol", [None, 3])
@pytest.mark.parametrize("key", ["weights", "labels", "another"])
def test_a_hostile_file_does_not_run(tmp_path, key, protocol):
    mark = tmp_path / "mark"
    save_as_reference(tmp_path / "old.npy", old(**{key: Runs(f"touch {mark}")}), protocol)
    with pytest.raises(ValueError, match=rf"it asks for the global {os.system.__module__}.system, .*do not load it"):
        convert_weights(tmp_path / "old.npy", tmp_path / "new.npy")
    assert not mark.exists() and not (tmp_path / "new.npy").exists()
    np.load(tmp_path / "old.npy", allow_pickle=True)  # numpy would have run it
    assert mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("numpy", "memmap"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy._core.multiarray", "_reconstruct.__globals__"),
        ("copyreg", "_reconstructor"),
    ],
)
def test_only_four_globals_are_known(tmp_path, module, name):
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    (tmp_path / "old.npy").write_bytes(header() + b"\x80\x04" + words + b"\x93.")
    with pytest.raises(ValueError, match=f"asks for the global {module}.{name},"):
        convert_weights(tmp_path / "old.npy", tmp_path / "new.npy")


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "old.npy"
    save_as_reference(path, old())
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"old.npy cannot be converted: .+"):
            convert_weights(path, tmp_path / "new.npy")
    assert not (tmp_path / "new.npy").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(3), r"array of float64 of shape \(3,\), not the dictionary"),
        (np.array([None, 1]), r"array of object of shape \(2,\), not the dictionary"),
        ([old()], "array of object of shape"),
        ("text", "array of <U4"),
        (None, "it holds a NoneType"),
        ({"weights": WEIGHTS}, r"it has no n_clusters, only \['weights'\]"),
        (old(weights=["a"] * N), "weights are not one finite number a row"),
        (old(weights=WEIGHTS[None]), "weights are not one finite number a row"),
        (old(n_clusters="many"), "many"),
        (old(features=FEATURES[1:]), "features are not 12 vectors"),
        (old(labels=[1, 2]), "labels are not one a row"),
    ],
)
def test_odd_files_are_refused(tmp_path, content, message):
    np.save(tmp_path / "old.npy", content)
    with pytest.raises(ValueError, match=rf"old.npy cannot be converted: .*{message}"):
        convert_weights(tmp_path / "old.npy", tmp_path / "new.npy")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00v\x00{}",
        pickle.dumps(old()),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
        header() + b"\x80\x04\x8c\x1cnumpy.core.multiarray\x93.",
        header() + b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"x.",  # bytes of this length
        header()  # an array of this length
        + b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        + b"\x8a\x08"
        + (1 << 60).to_bytes(8, "little")
        + b"\x85C\x01b\x87R.",
    ],
    ids=["empty", "magic", "version", "pickle", "header", "cut", "string", "array"],
)
def test_huge_and_broken_files_are_refused(tmp_path, content):
    (tmp_path / "old.npy").write_bytes(content)
    with pytest.raises(ValueError, match="old.npy cannot be converted: .+"):
        convert_weights(tmp_path / "old.npy", tmp_path / "new.npy")


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "hf_curriculum.curriculum_learning.weights_file", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def test_the_command_converts_a_file(tmp_path):
    save_as_reference(tmp_path / "old.npy", old())
    done = command(tmp_path / "old.npy", tmp_path / "new.npy")
    assert (done.returncode, done.stderr) == (0, f"Wrote {tmp_path / 'new.npy'}.\n")
    assert np.array_equal(read_weights(tmp_path / "new.npy").weights, WEIGHTS)


def test_the_command_says_what_is_wrong(tmp_path):
    save_as_reference(tmp_path / "old.npy", old(labels=Runs(f"touch {tmp_path / 'mark'}")))
    done = command(tmp_path / "old.npy", tmp_path / "new.npy")
    assert done.returncode == 2 and "Error: " in done.stderr and "Traceback" not in done.stderr
    assert "asks for the global" in done.stderr and not (tmp_path / "mark").exists()
    assert command(tmp_path / "absent.npy", tmp_path / "new.npy").returncode == 2
