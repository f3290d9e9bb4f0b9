"""What a saved scorer is on disk, that a loaded one scores the same, and that nothing damaged is loaded."""

import json
import pickle
import struct
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import pytest
import xxhash
from safetensors.numpy import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.cluster import MiniBatchKMeans

from hf_curriculum import DifficultyScorer, __version__
from hf_curriculum.scoring import scorer_config

ROWS, DIM = 90, 6
FORMS = {"text": np.array(["cat", "dog", "\u0111"]), "number": np.array([3, 1, -2]), "truth": np.array([True, False])}


def cloud(rows=ROWS, seed=0):
    return np.random.default_rng(seed).normal(3, [1, 2, 3, 4, 5, 6], (rows, DIM)).astype(np.float32)


def labels(form, rows=ROWS):
    return np.resize(FORMS[form], rows)


def saved(folder, **options):
    """A fitted scorer and the folder that it is saved in."""
    scorer = DifficultyScorer(options.pop("n_clusters", 3), **options).fit(cloud(), labels("text"))
    scorer.save_pretrained(folder)
    return scorer, folder


def assert_same_scores(one, other, form=None):
    rows = cloud(2 * ROWS, seed=1)
    given = None if form is None else labels(form, len(rows))
    for name, value in vars(one.score(rows, given)).items():
        np.testing.assert_array_equal(value, getattr(other.score(rows, given), name))


# --- what is loaded is what was saved -----------------------------------------------------------------------------


@pytest.mark.parametrize("form", [None, *FORMS])
@pytest.mark.parametrize("normalize", ["minmax", "rank", None])
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_loaded_scorer_gives_the_same_bits(tmp_path, normalize, form, repeats):
    scorer = DifficultyScorer(4, normalize=normalize, repeats=repeats).fit(
        cloud(), None if form is None else labels(form)
    )
    scorer.save_pretrained(tmp_path)
    assert_same_scores(scorer, DifficultyScorer.from_pretrained(tmp_path), form)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("l2_normalize", [True, False])
def test_a_loaded_scorer_measures_in_the_same_space(tmp_path, standardize, l2_normalize):
    scorer = DifficultyScorer(4, standardize=standardize, l2_normalize=l2_normalize).fit(cloud())
    scorer.save_pretrained(tmp_path)
    assert_same_scores(scorer, DifficultyScorer.from_pretrained(str(tmp_path)))


def test_a_loaded_scorer_has_the_options_and_the_results_of_fit(tmp_path):
    record = {"model_id": "me/encoder", "layer": None, "dim": np.int64(6)}
    scorer = DifficultyScorer(cluster_range=(2, 5), normalize="rank", seed=7)
    scorer.fit(cloud(), trained_on=record).save_pretrained(tmp_path)
    loaded = DifficultyScorer.from_pretrained(tmp_path)
    for name in ("n_clusters", "cluster_range", "normalize", "standardize", "l2_normalize", "seed", "clusterer"):
        assert getattr(loaded, name) == getattr(scorer, name), name
    for name in ("n_clusters_", "outliers_", "davies_bouldin_", "davies_bouldin_curve_", "centroid_labels_"):
        assert getattr(loaded, name) == getattr(scorer, name), name
    assert sorted(loaded.davies_bouldin_curve_) == [2, 3, 4, 5]
    assert loaded.trained_on_ == {**record, "dim": 6}


def test_a_loaded_scorer_can_be_fitted_anew(tmp_path):
    saved(tmp_path)
    loaded = DifficultyScorer.from_pretrained(tmp_path).fit(cloud(seed=5))
    assert_same_scores(DifficultyScorer(3).fit(cloud(seed=5)), loaded)
    assert loaded.centroid_labels_ is None and loaded.trained_on_ is None


def test_labels_are_checked_after_loading_as_before(tmp_path):
    loaded = DifficultyScorer.from_pretrained(saved(tmp_path)[1])
    with pytest.raises(ValueError, match=r"Labels \['cow'\] were not among"):
        loaded.score(cloud(1), ["cow"])
    with pytest.raises(ValueError, match="pass the labels of these rows too"):
        loaded.score(cloud(1))


def test_an_infinite_index_survives_as_standard_json(tmp_path):
    clusterer = MiniBatchKMeans(2, init=np.zeros((2, DIM)), n_init=1)
    scorer = DifficultyScorer(clusterer=clusterer).fit(np.ones((9, DIM)))
    assert scorer.davies_bouldin_ == np.inf
    scorer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text(), parse_constant=pytest.fail)["davies_bouldin_"] == "inf"
    assert DifficultyScorer.from_pretrained(tmp_path).davies_bouldin_ == np.inf


def test_a_clusterer_is_recorded_and_not_stored(tmp_path):
    scorer = DifficultyScorer(clusterer=MiniBatchKMeans(3, random_state=0)).fit(cloud())
    scorer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["clusterer"].startswith("MiniBatchKMeans(")
    loaded = DifficultyScorer.from_pretrained(tmp_path)
    assert loaded.clusterer is None
    assert_same_scores(scorer, loaded)


@dataclass
class Locked(BaseEstimator):
    """Cannot be copied, and the mixin copies arguments that are dataclasses."""

    lock: Any = field(default_factory=Lock)
    n_clusters: int = 3

    def __sklearn_clone__(self):
        return MiniBatchKMeans(self.n_clusters)


def test_a_clusterer_is_left_alone_whatever_it_is(tmp_path):
    scorer = DifficultyScorer(clusterer=Locked()).fit(cloud())
    scorer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["clusterer"].startswith("Locked(")
    assert_same_scores(scorer, DifficultyScorer.from_pretrained(tmp_path))


def test_a_save_replaces_another_even_the_one_it_was_loaded_from(tmp_path):
    first, _ = saved(tmp_path)
    loaded = DifficultyScorer.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path)
    assert_same_scores(first, DifficultyScorer.from_pretrained(tmp_path), "text")
    second = DifficultyScorer(8, normalize=None).fit(cloud(seed=3))
    second.save_pretrained(tmp_path)
    assert_same_scores(second, DifficultyScorer.from_pretrained(tmp_path))
    assert_same_scores(first, loaded, "text")
    assert "| Prototypes | 8 |" in (tmp_path / "README.md").read_text()


def test_a_save_that_breaks_off_leaves_no_scorer_of_two_halves(tmp_path, monkeypatch):
    saved(tmp_path)
    second = DifficultyScorer(3).fit(cloud(seed=3), labels("text"))  # its files have the shapes of the first

    def fail(number):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        second.save_pretrained(tmp_path)
    monkeypatch.undo()
    refused(tmp_path, "has no config.json, so no scorer is stored there", FileNotFoundError)
    assert not list(tmp_path.glob("unfinished-*"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_save_does_not_write_through_a_link(tmp_path, name):
    _, first = saved(tmp_path / "first")
    whole = (first / name).read_bytes()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / name).symlink_to(first / name)  # as the cache of the Hub links to its blobs
    DifficultyScorer(5).fit(cloud(seed=3)).save_pretrained(tmp_path / "second")
    assert (first / name).read_bytes() == whole


# --- what is on disk ----------------------------------------------------------------------------------------------


def test_the_files_are_those_of_the_format(tmp_path):
    scorer, folder = saved(tmp_path / "new" / "folder")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    arrays = load_file(folder / "model.safetensors")
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "centroids": ("float32", (9, DIM)),
        "mean": ("float32", (DIM,)),
        "scale": ("float32", (DIM,)),
        "quantiles": ("float32", (9, 2)),
    }
    np.testing.assert_allclose(arrays["mean"], cloud().mean(0), rtol=1e-5)
    np.testing.assert_allclose(arrays["scale"], cloud().std(0), rtol=1e-5)
    assert json.loads((folder / "config.json").read_text()) == {
        "format_version": 1,
        "version": __version__,
        "n_clusters": 3,
        "cluster_range": None,
        "normalize": "minmax",
        "standardize": True,
        "l2_normalize": True,
        "seed": 42,
        "clusterer": None,
        "dim": DIM,
        "repeats": 1,
        "measure": "distance",
        "chosen_by_": "given",
        "sizes": [9],
        "outliers_": scorer.outliers_,
        "davies_bouldin_": scorer.davies_bouldin_,
        "davies_bouldin_curve_": {},
        "centroid_labels_": ["cat"] * 3 + ["dog"] * 3 + ["\u0111"] * 3,
        "trained_on": None,
        "difficulty_quantiles_": scorer.quantiles_,
        "checksum": xxhash.xxh3_128(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest(),
    }


def test_the_card_says_what_the_scorer_is(tmp_path):
    scorer = DifficultyScorer(3, normalize="rank", l2_normalize=False)
    scorer.fit(cloud(), labels("text"), trained_on={"model_id": "me/encoder"}).save_pretrained(tmp_path)
    card = scorer.generate_model_card(repo_id="me/scorer")
    assert card.data.library_name == "hf-curriculum" and "curriculum-learning" in card.data.tags
    for text in (f"| {scorer.n_clusters_} in 3 classes |", f"| {scorer.davies_bouldin_:.4g} |"):
        assert text in card.text
    assert "| 6 numbers a row, standardised |" in card.text and "| rank of the distance" in card.text
    assert '"model_id": "me/encoder"' in card.text and 'from_pretrained("me/scorer")' in card.text
    assert str(card).replace("me/scorer", "USER/NAME") == (tmp_path / "README.md").read_text()


@pytest.mark.parametrize("repo", [None, "me/scorer"])
def test_an_unfitted_scorer_is_not_saved(tmp_path, repo):
    save = DifficultyScorer(3).push_to_hub if repo else DifficultyScorer(3).save_pretrained
    with pytest.raises(ValueError, match=r"no centroids yet: call fit\(embeddings\) first"):
        save(repo or tmp_path / "scorer")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("classes", "trained_on", "message"),
    [
        ([0.5, 1.5], None, r"all strings, all integers or all booleans can be stored; these are \['float'\]"),
        (np.array([1, 2.5], object), None, r"these are \['float', 'int'\].*labels.astype\(str\)"),
        (None, {"when": object()}, "config.json cannot hold .* trained_on: object is not JSON"),
        (None, {"loss": float("nan")}, "config.json cannot hold"),
        (None, {"text": "a" * 2**24}, "more than the 16,777,216 that can be read again"),
    ],
)
def test_what_json_cannot_hold_is_refused_before_anything_is_touched(tmp_path, classes, trained_on, message):
    before, _ = saved(tmp_path)
    scorer = DifficultyScorer(2).fit(cloud(), None if classes is None else np.resize(classes, ROWS), trained_on)
    with pytest.raises(ValueError, match=message):
        scorer.save_pretrained(tmp_path)
    assert_same_scores(before, DifficultyScorer.from_pretrained(tmp_path), "text")


# --- what is not there, or damaged --------------------------------------------------------------------------------


def refused(folder, message, error=ValueError):
    with pytest.raises(error, match=message):
        DifficultyScorer.from_pretrained(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    saved(tmp_path)
    (tmp_path / name).unlink()
    refused(tmp_path, f"has no {name}, so no scorer is stored there", FileNotFoundError)


@pytest.mark.parametrize("source", ["missing/folder", "./missing", "/missing/folder/of/a/scorer", "me/unknown", "a b"])
def test_a_source_that_is_neither_folder_nor_repository_is_named(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    message = f"'{source}' is neither a folder here nor a repository that can be had from the Hub.* The Hub says: .+"
    with pytest.raises(FileNotFoundError, match=message):
        DifficultyScorer.from_pretrained(source, cache_dir=tmp_path / "cache")


def test_no_text_of_a_file_is_more_than_text_in_the_card(tmp_path):
    saved(tmp_path)
    changed(tmp_path, chosen_by_="a | b\n\n# Heading\n<script>x</script> [c](http://d) \u202e\x1b[31m" + "e" * 5_000)
    DifficultyScorer.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
    card = (tmp_path / "again" / "README.md").read_text()
    row = next(line for line in card.splitlines() if line.startswith("| Number of clusters |"))
    assert row.endswith(" |") and row.count("|") - row.count("\\|") == 3 and len(row) < 1_200
    assert not any(piece in card for piece in ("<script>", "\n# Heading", "[c](", "\u202e", "\x1b"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pkl", "scorer.joblib"])
def test_a_pickle_is_never_opened(tmp_path, name):
    class Opened:
        def __reduce__(self):
            return (tmp_path.joinpath("opened").touch, ())

    saved(tmp_path)
    (tmp_path / name).write_bytes(pickle.dumps(Opened()))
    DifficultyScorer.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(pickle.dumps(Opened()))
    refused(tmp_path, "model.safetensors is not a whole safetensors file")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfd", "is not JSON"),
        (b"[" * 10**5, "is not JSON"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[]", "holds a list, not an object"),
        (b"null", "holds a NoneType, not an object"),
        (b"{}", "field 'format_version' must be a positive integer, got None. Is this the config of a scorer?"),
        (b'{"architectures": ["BertModel"]}', "field 'format_version' must be a positive integer"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path, text, message):
    saved(tmp_path)
    (tmp_path / "config.json").write_bytes(text)
    refused(tmp_path, f"config.json.*{message}")


def test_a_huge_config_is_not_read(tmp_path):
    saved(tmp_path)
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)  # a hole, larger than memory
    refused(tmp_path, "config.json has more than 16,777,216 bytes; that is no config of a scorer. Download it again")


FIELDS = {
    "version": (None, 1),
    "n_clusters": ("3", 0, -1, 2.0, True),
    "cluster_range": ([2], [2, 3, 4], ["2", "3"], "23", [True, 2], 2),
    "normalize": ("zscore", [], 1, "None"),
    "standardize": (None, 1, "true"),
    "l2_normalize": (None, 0),
    "seed": (None, 1.5, "1", True),
    "clusterer": (1, {}),
    "dim": (None, 0, "6", 6.0),
    "repeats": (None, 0, 1.0),
    "chosen_by_": (1, []),
    "measure": (None, "margins", [], 1),
    "sizes": (None, 9, [], [0], [-9], [9.0], ["9"]),
    "outliers_": (None, -1, 0.0),
    "davies_bouldin_": ("infinity", -1, True, float("nan"), float("inf"), 10**400),
    "davies_bouldin_curve_": (None, [], {"two": 1}, {"2": None}, {"-2": 1}, {"\u00b2": 1}, {"9" * 30: 1}),
    "centroid_labels_": ("cat" * 3, [], [None] * 9, [0.5] * 9, ["cat"] * 8 + [1], [1] * 8 + [True], [["a"]] * 9),
    "trained_on": ("me/encoder", []),
    "checksum": (1, [], True),
    "difficulty_quantiles_": ("0", [], [0.5], [0.5, 0.2], [-1, 0], [0, "1"], [0, True], [0, float("nan")], [0, 1e999]),
}


def changed(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def test_the_fields_below_are_all_that_there_are():
    assert set(FIELDS) == set(scorer_config._FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_another_kind_is_named_with_what_it_must_be(tmp_path, name):
    saved(tmp_path)
    for value in FIELDS[name]:
        changed(tmp_path, **{name: value})
        refused(tmp_path, f"config.json: field '{name}' must be .*, got .*")


@pytest.mark.parametrize(
    "name", sorted(FIELDS.keys() - {"measure", "chosen_by_"})
)  # which files of earlier releases lack
def test_a_field_that_is_missing_is_named(tmp_path, name):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config[name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    if name in ("difficulty_quantiles_", "checksum"):  # files of the time before it are read
        assert DifficultyScorer.from_pretrained(tmp_path).quantiles_ == config.get("difficulty_quantiles_")
    else:
        refused(tmp_path, f"config.json has no field '{name}'")


def test_a_margin_needs_classes_and_directions(tmp_path):
    saved(tmp_path)
    changed(tmp_path, measure="margin")
    refused(tmp_path, "model.safetensors has no tensor 'directions'")
    changed(tmp_path, centroid_labels_=["cat"] * 9)
    refused(tmp_path, "measure 'margin' needs labels of two or more classes in 'centroid_labels_'")


@pytest.mark.parametrize("version", [3, 10**9])
def test_a_later_format_asks_for_a_later_library(tmp_path, version):
    saved(tmp_path)
    changed(tmp_path, format_version=version)
    refused(tmp_path, f"has format_version {version}; this version of hf-curriculum reads up to 2. Upgrade it")


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None])
def test_a_format_version_is_a_positive_integer(tmp_path, version):
    saved(tmp_path)
    changed(tmp_path, format_version=version)
    refused(tmp_path, "field 'format_version' must be a positive integer")


@pytest.mark.parametrize("fields", [{"cluster_range": [2, 3]}, {"n_clusters": None, "cluster_range": [3, 2]}])
def test_options_that_contradict_each_other_are_refused_with_the_file(tmp_path, fields):
    saved(tmp_path)
    changed(tmp_path, **fields)
    refused(tmp_path, "config.json: (Pass one of|cluster_range must be)")


def test_further_fields_and_tensors_of_the_same_format_are_ignored(tmp_path):
    scorer, _ = saved(tmp_path)
    changed(tmp_path, mood="good")
    arrays = load_file(tmp_path / "model.safetensors")
    save_file({**arrays, "colour": np.zeros(3)}, tmp_path / "model.safetensors")
    assert_same_scores(scorer, DifficultyScorer.from_pretrained(tmp_path), "text")


@pytest.mark.parametrize("count", [8, 10])
def test_labels_are_one_for_each_centroid(tmp_path, count):
    saved(tmp_path)
    changed(tmp_path, centroid_labels_=["cat"] * count)
    refused(tmp_path, f"'centroid_labels_' has {count} labels for 9 centroids")


def test_a_size_is_there_for_each_repeat(tmp_path):
    saved(tmp_path)
    changed(tmp_path, repeats=2)
    refused(tmp_path, "'sizes' has 1 clusterings, but repeats is 2")


# --- tensors ------------------------------------------------------------------------------------------------------


def with_arrays(folder, **changes):
    arrays = load_file(folder / "model.safetensors")
    for name, change in changes.items():
        arrays[name] = np.ascontiguousarray(change(arrays[name]))
    save_file(arrays, folder / "model.safetensors")


@pytest.mark.parametrize("name", ["centroids", "mean", "scale", "quantiles"])
def test_a_tensor_that_is_missing_or_of_another_type_rank_or_shape_is_named(tmp_path, name):
    saved(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    for change in (
        np.float64,
        np.float16,
        np.int32,
        np.ravel if name in ("centroids", "quantiles") else np.atleast_2d,
    ):
        with_arrays(tmp_path, **{name: change})
        refused(tmp_path, f"tensor '{name}' is .* asks for F32 of shape")
        (tmp_path / "model.safetensors").write_bytes(whole)
    for change in (lambda a: a[:-1], lambda a: a[:0], lambda a: np.concatenate([a, a])):
        with_arrays(tmp_path, **{name: change})
        refused(tmp_path, f"tensor '{name}' is F32 of shape .* The files are not of one scorer")
        (tmp_path / "model.safetensors").write_bytes(whole)
    arrays = load_file(tmp_path / "model.safetensors")
    del arrays[name]
    save_file(arrays, tmp_path / "model.safetensors")
    refused(tmp_path, f"model.safetensors has no tensor '{name}'")


@pytest.mark.parametrize(
    ("fields", "tensor"),
    [({"dim": 5}, "centroids"), ({"sizes": [8], "centroid_labels_": None}, "centroids")]
    + [({"normalize": normalize}, "quantiles") for normalize in ("rank", None)],
)
def test_tensors_of_another_config_are_refused(tmp_path, fields, tensor):
    saved(tmp_path)
    changed(tmp_path, **fields)
    refused(tmp_path, f"tensor '{tensor}' is F32 of shape .* asks for F32 of shape")


@pytest.mark.parametrize("name", ["centroids", "mean", "scale", "quantiles"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(tmp_path, name, value):
    saved(tmp_path)
    with_arrays(tmp_path, **{name: lambda array: np.where(np.arange(array.size).reshape(array.shape), array, value)})
    refused(tmp_path, f"tensor '{name}' has NaN or infinite numbers")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("scale", np.negative, "tensor 'scale' must be positive, its lowest is -"),
        ("scale", np.zeros_like, "tensor 'scale' must be positive, its lowest is 0"),
        ("quantiles", lambda array: array[:, ::-1], "tensor 'quantiles' must ascend in each row"),
    ],
)
def test_numbers_that_no_fit_gives_are_refused(tmp_path, name, change, message):
    saved(tmp_path)
    with_arrays(tmp_path, **{name: change})
    refused(tmp_path, message)


def header_of(folder):
    """The header of the tensors' file, and the bytes after it."""
    whole = (folder / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def put(folder, header, data):
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize("change", [{"shape": [9, 10**9]}, {"shape": [2**62, 2**62]}, {"data_offsets": [0, 10**12]}])
def test_a_header_that_lies_is_refused(tmp_path, change):
    saved(tmp_path)
    header, data = header_of(tmp_path)
    put(tmp_path, header, data)
    DifficultyScorer.from_pretrained(tmp_path)
    put(tmp_path, {**header, "centroids": {**header["centroids"], **change}}, data)
    changed(tmp_path, dim=10**9)
    refused(tmp_path, "model.safetensors is not a whole safetensors file")


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_file_that_is_cut_is_refused(tmp_path, kept):
    saved(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:kept])
    refused(tmp_path, "model.safetensors is not a whole safetensors file")


@pytest.mark.parametrize("length", [2**40, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(tmp_path, length):
    saved(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + whole[8:])
    refused(tmp_path, "model.safetensors is not a whole safetensors file")


# --- links, and records of strangers --------------------------------------------------------------------------------


def test_no_link_that_lies_in_wait_is_followed(tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    folder = tmp_path / "scorer"
    folder.mkdir()
    for name in ("model.safetensors.part", "model.safetensors", "config.json", "config.json.part"):
        (folder / name).symlink_to(treasure)
    DifficultyScorer(2).fit(cloud()).save_pretrained(folder)
    assert treasure.read_text() == "mine"
    assert DifficultyScorer.from_pretrained(folder).n_clusters_ == 2


@pytest.mark.parametrize("depth", [30, 100, 600, 100_000])
def test_a_record_that_nests_deeply_is_refused_or_can_be_saved_again(tmp_path, depth):
    DifficultyScorer(2).fit(cloud(), trained_on={"mark": 1}).save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"mark": 1', '"mark": ' + "[" * depth + "]" * depth))
    if depth == 30:
        DifficultyScorer.from_pretrained(tmp_path).save_pretrained(tmp_path / "again")
        return
    with pytest.raises(ValueError, match="config.json.*(nests at most 32 deep|is not JSON)"):
        DifficultyScorer.from_pretrained(tmp_path)


def test_each_of_sixty_flips_of_a_bit_of_its_numbers_is_found(tmp_path):
    _, folder = saved(tmp_path)
    file = folder / "model.safetensors"
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    for place in rng.integers(start, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        file.write_bytes(damaged)
        refused(folder, "model.safetensors.*(is damaged|has NaN|must be positive|must ascend)")
    file.write_bytes(content)
    DifficultyScorer.from_pretrained(folder)
