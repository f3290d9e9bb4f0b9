import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, DatasetDict

from hf_curriculum.cli.sources import load, require_output
from hf_curriculum.data.media import read_audio

ROWS = {"text": ["red cat", 'a, quoted "dog"', "Größe", "blue bird"], "number": [3, 1, 4, 1]}


@pytest.fixture
def dataset():
    return Dataset.from_dict(ROWS)


def write_arrow(dataset, path):
    """One Arrow stream, as ``datasets`` itself writes it."""
    dataset.save_to_disk(path.parent / "saved")
    (path.parent / "saved" / "data-00000-of-00001.arrow").rename(path)


WRITERS = {
    ".parquet": lambda dataset, path: dataset.to_parquet(path),
    ".jsonl": lambda dataset, path: dataset.to_json(path),
    ".json": lambda dataset, path: dataset.to_json(path, lines=False),
    ".csv": lambda dataset, path: dataset.to_csv(path, index=False),
    ".arrow": write_arrow,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("upper", [False, True], ids=["lower", "upper"])
def test_a_file_of_every_type_is_read_as_it_was_written(dataset, tmp_path, suffix, upper):
    path = tmp_path / f"data{suffix.upper() if upper else suffix}"
    WRITERS[suffix](dataset, path)
    loaded = load(str(path), "train")
    assert isinstance(loaded, Dataset)
    assert loaded.to_dict() == ROWS


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_a_directory_of_files_has_their_splits(dataset, tmp_path, suffix):
    WRITERS[suffix](dataset.select([0, 1]), tmp_path / f"train{suffix}")
    WRITERS[suffix](dataset.select([2, 3]), tmp_path / f"test{suffix}")
    assert load(str(tmp_path), "train").to_dict() == dataset.select([0, 1]).to_dict()
    assert load(str(tmp_path), "test").to_dict() == dataset.select([2, 3]).to_dict()


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_saved_dataset_has_no_splits_to_choose_from(dataset, tmp_path, split):
    dataset.save_to_disk(tmp_path / "saved")
    assert load(str(tmp_path / "saved"), split).to_dict() == ROWS


def test_a_saved_dataset_dict_gives_the_split_asked_for(dataset, tmp_path):
    DatasetDict({"train": dataset.select([0]), "held-out": dataset.select([3, 2])}).save_to_disk(tmp_path / "saved")
    assert load(str(tmp_path / "saved"), "train").to_dict() == dataset.select([0]).to_dict()
    assert load(str(tmp_path / "saved"), "held-out").to_dict() == dataset.select([3, 2]).to_dict()


def test_an_image_folder_is_images_with_the_names_of_their_folders(digits, tmp_path):
    names = digits.features["label"].names
    for row in range(20):
        folder = tmp_path / names[digits[row]["label"]]
        folder.mkdir(exist_ok=True)
        digits[row]["image"].save(folder / f"{row:02}.png")
    loaded = load(str(tmp_path), "train")
    assert loaded.column_names == ["image", "label"]
    shown = sorted((loaded.features["label"].int2str(row["label"]), row["image"].tobytes()) for row in loaded)
    assert shown == sorted((names[row["label"]], row["image"].tobytes()) for row in digits.select(range(20)))


def test_tabs_lines_and_packed_files_are_read(tmp_path):
    (tmp_path / "a.tsv").write_text("text\tnumber\nred cat\t3\n'a, b'\t1\n")
    assert load(str(tmp_path / "a.tsv"), None).to_dict() == {"text": ["red cat", "'a, b'"], "number": [3, 1]}
    (tmp_path / "a.txt").write_text("red cat\nblue bird\n")
    assert load(str(tmp_path / "a.txt"), None).to_dict() == {"text": ["red cat", "blue bird"]}
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"text": "red cat"}\n{"text": "blue bird"}\n')
    assert load(str(tmp_path / "a.jsonl.gz"), None)["text"][:] == ["red cat", "blue bird"]


def test_several_files_are_one_dataset_and_named_splits_stay_apart(dataset, tmp_path):
    for name, rows in (("b-1", [2, 3]), ("a-0", [0, 1]), ("train", [0]), ("test", [1])):
        dataset.select(rows).to_parquet(tmp_path / f"{name}.parquet")
    assert load([str(tmp_path / "b-1.parquet"), str(tmp_path / "a-0.parquet")], None)["number"][:] == [4, 1, 3, 1]
    assert load(str(tmp_path / "?-*.parquet"), None).to_dict() == ROWS
    splits = load(str(tmp_path / "t*.parquet"), None)
    assert {name: split["number"][:] for name, split in splits.items()} == {"train": [3], "test": [1]}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["news.parqet"], r"neither a file nor a directory.* Did you mean '.*news\.parquet'\?"),
        (["news.parquet", "old.csv"], r"several types: \.csv, \.parquet"),
        (["news.parquet", "nws.parquet"], r"nws\.parquet' is no file.*Did you mean '.*news\.parquet'"),
        (["*.arrow"], r"No file is named like '.*\*\.arrow'"),
        (["NEWS.PARQUET"], r"Did you mean '.*news\.parquet'\?"),
    ],
)
def test_what_is_not_there_is_named_with_what_was_meant(dataset, tmp_path, names, message):
    dataset.to_parquet(tmp_path / "news.parquet")
    (tmp_path / "old.csv").write_text("text\na\n")
    with pytest.raises(ValueError, match=message):
        load([str(tmp_path / name) for name in names], None)


@pytest.mark.parametrize("name", ["notes.doc", "data.parquet.zip", "noending"])
def test_an_unknown_file_type_lists_the_known_ones(tmp_path, name):
    (tmp_path / name).write_text("x")
    message = (
        rf"Cannot read '{name}': expected a file of type \['\.arrow', '\.csv', '\.json', '\.jsonl', .*'\.parquet'"
    )
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / name), "train")


@pytest.mark.parametrize("kind", ["file", "saved", "directory"])
def test_a_missing_split_lists_those_that_there_are(dataset, tmp_path, kind):
    if kind == "saved":
        DatasetDict({"train": dataset, "dev": dataset}).save_to_disk(tmp_path / "data")
        expected = r"no split 'test'; there are \['train', 'dev'\]\. Choose one with --split"
    elif kind == "file":
        dataset.to_parquet(tmp_path / "data")
        (tmp_path / "data").rename(tmp_path / "data.parquet")
        expected = r"no split 'test'; there are \['train'\]"
    else:
        (tmp_path / "data").mkdir()
        dataset.to_parquet(tmp_path / "data" / "train.parquet")
        expected = r"""Unknown split "test"\. Should be one of \['train'\]"""
    path = tmp_path / ("data.parquet" if kind == "file" else "data")
    with pytest.raises(ValueError, match=expected):
        load(str(path), "test")


@pytest.mark.parametrize("name", ["nowhere.parquet", "no/where", "deep/er/no/where.csv", "nobody"])
def test_a_missing_path_says_what_was_looked_for(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"'{name}' is neither a file nor a directory here, nor a dataset of the Hub"):
        load(name, "train")
    with pytest.raises(ValueError, match="is neither a file nor a directory here"):
        load(str(tmp_path / name), "train")


def test_a_directory_without_data_says_so(tmp_path):
    with pytest.raises(ValueError, match="neither a file nor a directory here.*nor a dataset of the Hub.*"):
        load(str(tmp_path), "train")
    with pytest.raises(ValueError, match="doesn't contain any data files"):
        load(str(tmp_path), None)


def test_an_audio_folder_is_sounds_with_the_names_of_their_folders(clips, tmp_path):
    raw = clips.cast_column("audio", Audio(decode=False))
    for row in range(12):
        folder = tmp_path / ("low", "high")[row % 2]
        folder.mkdir(exist_ok=True)
        (folder / f"{row:02}.wav").write_bytes(raw[row]["audio"]["bytes"])
    loaded = load(str(tmp_path), "train")
    assert loaded.features["label"].names == ["high", "low"]
    sounds = loaded.cast_column("audio", Audio(decode=False))
    assert isinstance(loaded.features["audio"], Audio) and len(sounds) == 12
    for row in sounds:
        number = int(Path(row["audio"]["path"]).stem)
        assert read_audio(row["audio"], 8000).tobytes() == read_audio(raw[number]["audio"], 8000).tobytes()
        assert row["label"] == (1, 0)[number % 2]


LINE = b'{"text": "red cat"}\n'
UNPACKED = bytearray(gzip.compress(LINE * 20, mtime=0))
UNPACKED[15:25] = b"\0" * 10
DAMAGED = [
    ("a.parquet", b"no parquet"),
    ("a.jsonl", b'{"a": 1}\n{"a":'),
    ("a.csv", b""),
    ("a.csv", "text\nGröße\n".encode("latin1")),
    ("a.csv", b"a,b\n1,2\n1,2,3\n"),
    ("a.arrow", b"no arrow"),
    ("a.jsonl.gz", LINE),
    ("a.jsonl.gz", gzip.compress(LINE * 20, mtime=0)[:-20]),
    ("a.jsonl.gz", bytes(UNPACKED)),
    ("a.jsonl.bz2", bz2.compress(LINE)[:-9]),
    ("a.jsonl.bz2", LINE),
    ("a.jsonl.xz", lzma.compress(LINE)[:-9]),
    ("a.jsonl.xz", LINE),
    ("a.jsonl", b""),
    ("a.jsonl", b"\n"),
    ("a.json", b"[]"),
    ("a.txt", b""),
    ("a.csv", b"text,label\n"),
]


@pytest.mark.parametrize(("name", "content"), DAMAGED)
def test_a_damaged_file_says_what_is_wrong_with_it(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} cannot be read: .{{10,}}"):
        load(str(tmp_path / name), "train")
    with pytest.raises(ValueError, match=rf"{tmp_path.name}' cannot be read: .{{10,}}"):
        load(str(tmp_path), None)


def test_files_without_rows_or_with_other_columns_say_so(dataset, tmp_path):
    dataset.select([]).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(ValueError, match="none.parquet cannot be read: there are no rows"):
        load(str(tmp_path / "none.parquet"), None)
    dataset.to_parquet(tmp_path / "a.parquet")
    dataset.rename_column("text", "words").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"\['text', 'number'\] and \['words', 'number'\]\. Name files of one kind"):
        load([str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")], None)


def test_the_split_that_was_saved_alone_is_no_other(dataset, tmp_path):
    dataset.to_parquet(tmp_path / "a.parquet")
    load(str(tmp_path / "a.parquet"), "train").save_to_disk(tmp_path / "saved")
    assert load(str(tmp_path / "saved"), "train").to_dict() == ROWS
    with pytest.raises(ValueError, match="no split 'test': the dataset is the split 'train'"):
        load(str(tmp_path / "saved"), "test")


def test_a_configuration_is_not_looked_for_in_files(dataset, tmp_path):
    dataset.to_parquet(tmp_path / "a.parquet")
    for name in (tmp_path / "a.parquet", tmp_path):
        with pytest.raises(ValueError, match=f"--config is for datasets of the Hub, and '{name}' is here"):
            load(str(name), None, "small")


def test_the_directory_around_is_a_source_too(dataset, tmp_path, monkeypatch):
    dataset.to_parquet(tmp_path / "a.parquet")
    monkeypatch.chdir(tmp_path)
    assert load(".", None).to_dict() == ROWS


@pytest.mark.parametrize("features", ['{"n": "x"}', '{"n": {"_type": "List", "feature": []}}', "3"])
def test_columns_that_are_described_by_hand_are_told(tmp_path, features):
    info = b'{"info": {"features": %b}}' % features.encode()
    table = pa.table({"n": [1]}).replace_schema_metadata({"huggingface": info})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read: .+"):
        load(str(tmp_path / "a.parquet"), "train")
    Dataset.from_dict({"n": [1]}).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / "dataset_info.json").write_text(f'{{"features": {features}}}')
    with pytest.raises(ValueError, match="saved cannot be read: .+"):
        load(str(tmp_path / "saved"), "train")


def test_without_a_split_all_come(dataset, tmp_path):
    DatasetDict({"train": dataset.select([0]), "test": dataset.select([1])}).save_to_disk(tmp_path / "saved")
    assert list(load(str(tmp_path / "saved"), None)) == ["train", "test"]


@pytest.mark.parametrize(("output", "message"), [("file", "is a file"), ("saved", "is the dataset that is read")])
def test_an_output_that_cannot_be_is_refused(dataset, tmp_path, output, message):
    dataset.save_to_disk(tmp_path / "saved")
    (tmp_path / "file").write_text("x")
    require_output(tmp_path / "new", str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=message):
        require_output(tmp_path / output, str(tmp_path / "saved"))
