"""The report page as a file: what it holds, what it leaves out, and that hostile rows cannot leave their place."""

import json
import math
import re
import resource
import signal
from html import unescape

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, concatenate_datasets

from hf_curriculum import CurriculumConfig, CurriculumSampler, add_difficulty, curriculum_weights, provenance, report

pytestmark = pytest.mark.costly

DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.DOTALL)
ENDS = ["</script><script>alert(1)</script>", "<!--", "]]>", "<img src=x onerror=alert(1)>", "\u2028", "{{ 7*7 }}"]


def write(dataset, folder, **options):
    """The page, and the data in it."""
    html = report(dataset, folder / "report.html", **options).read_text("utf-8")
    return html, json.loads(DATA.search(html)[1])


def plain(scores=(0.1, 0.5, 0.2, 0.9), **columns):
    return Dataset.from_dict({"difficulty": list(scores), **columns})


# --- what it holds ------------------------------------------------------------------------------------------------


def test_every_cluster_has_its_prototypes_and_its_hardest_rows(scored, tmp_path):
    _, page = write(scored, tmp_path)
    difficulty, cluster = np.array(scored["difficulty"]), np.array(scored["cluster"])
    numbers, sizes = np.unique(cluster, return_counts=True)
    assert sorted((one["cluster"], one["rows"]) for one in page["clusters"]) == list(zip(numbers, sizes, strict=True))
    assert [size for _, size, _ in page["sizes"]] == sorted(sizes, reverse=True)
    for one in page["clusters"]:
        rows = np.flatnonzero(cluster == one["cluster"])
        ranked = rows[np.argsort(difficulty[rows], kind="stable")].tolist()
        assert one["easiest"] == ranked[:4]
        assert one["hardest"] == ranked[-4:][::-1]
        assert one["mean"] == pytest.approx(difficulty[rows].mean())


def test_the_curve_and_the_record_are_those_of_the_scores(scored, tmp_path):
    html, page = write(scored, tmp_path)
    assert [k for k, _ in page["curve"]] == [4, 5, 6, 7]
    assert str(page["n_clusters"]) == dict(page["record"])["n_clusters"]
    assert dict(page["record"])["model_id"] == "builtin/hog" and "quantiles" not in dict(page["record"])
    assert dict(page["record"])["n_clusters"] == str(len(page["sizes"]))
    assert "model id</th><td>builtin/hog</td>" in html


def test_every_row_that_is_shown_has_its_example(scored, tmp_path):
    _, page = write(scored, tmp_path)
    shown = {row for one in page["clusters"] for row in one["easiest"] + one["hardest"]}
    shown |= {row for drawn in page["schedule"]["drawn"] for row in drawn["rows"]} | set(page["map"]["rows"])
    assert set(map(int, page["examples"])) == shown
    for row in map(str, shown):
        example = page["examples"][row]
        assert example["image"].startswith("data:image/webp;base64,")
        assert example["cluster"] == scored[int(row)]["cluster"]
        assert example["difficulty"] == pytest.approx(scored[int(row)]["difficulty"])
        assert example["fields"] == [["label", scored.features["label"].int2str(scored[int(row)]["label"])]]


def test_the_slider_shows_what_the_sampler_draws(scored, tmp_path):
    config = CurriculumConfig(initial_fraction=0.1, warmup_steps=30, schedule="linear")
    _, page = write(scored, tmp_path, curriculum=config, total_steps=40)
    sampler = CurriculumSampler(np.array(scored["difficulty"]), config, total_batch_size=16, total_steps=40)
    drawn = page["schedule"]["drawn"]
    assert [one["step"] for one in drawn] == list(range(41))
    for one in drawn:
        assert one["rows"] == np.unique(sampler.indices(one["step"])).tolist()
        assert one["fraction"] == pytest.approx(sampler.effective_fraction(one["step"]))
        assert sum(one["share"]) == pytest.approx(1)
        weights = curriculum_weights(np.array(scored["difficulty"]), one["step"], config)
        assert one["likeliest"] == pytest.approx(np.sort(weights)[-math.ceil(0.03 * len(scored)) :].sum(), rel=1e-4)
    (tmp_path / "report.html").read_text().index(f"rows are {100 * drawn[0]['likeliest']:.0f} % of the draws")
    assert [one["temperature"] is None for one in drawn] == [one["step"] >= 30 for one in drawn]


@pytest.mark.parametrize(
    ("warmup", "steps", "total"), [(0.5, None, 1000), (300, None, 600), (300, 400, 400), (0.5, 10, 10)]
)
def test_the_length_of_the_training_is_as_asked_for_or_shows_the_warm_up(tmp_path, warmup, steps, total):
    _, page = write(plain(), tmp_path, curriculum=CurriculumConfig(warmup_steps=warmup), total_steps=steps)
    assert page["schedule"]["total_steps"] == total
    assert page["schedule"]["drawn"][-1]["step"] == total


def test_the_histogram_is_that_of_numpy(scored, tmp_path):
    _, page = write(scored, tmp_path)
    counts, edges = np.histogram(scored["difficulty"], 40)
    np.testing.assert_allclose(page["schedule"]["edges"], edges, atol=1e-7)
    np.testing.assert_allclose(page["schedule"]["dataset"], counts / counts.sum())


def test_the_chance_of_a_row_of_the_map_is_that_of_many_passes(scored, tmp_path):
    config = CurriculumConfig(warmup_steps=30)
    _, page = write(scored, tmp_path, curriculum=config, total_steps=40)
    difficulty, n = np.array(scored["difficulty"]), len(scored)
    rng = np.random.default_rng(0)
    for step in (0, 15, 40):
        one = page["schedule"]["drawn"][step]
        assert np.mean(one["chance"]) / 100 == pytest.approx(one["fraction"], abs=0.005)
        weights = curriculum_weights(difficulty, step, config, 40)
        passes = [np.bincount(rng.choice(n, n, p=weights), minlength=n) > 0 for _ in range(400)]
        expected = np.array(one["chance"]) / 100
        assert np.abs(np.mean(passes, 0) - expected).max() < 0.13  # five deviations of 400 throws, and rounding
        ranked = np.cumsum(np.sort(weights)[::-1])
        assert ranked[one["half"] - 1] > 0.5 - 1e-9 and ranked[one["half"] - 2] < 0.5 + 1e-9
        assert one["most"] == pytest.approx(n * weights.max())


@pytest.mark.parametrize("missing", [0, 40])
def test_a_random_pool_is_shown_as_it_is_drawn(missing, tmp_path):
    rng = np.random.default_rng(0)
    scores = rng.random(300)
    embeddings = rng.normal(size=(300, 4)).tolist()
    dataset = plain([*scores[missing:], *[None] * missing], embedding=[*embeddings[missing:], *embeddings[:missing]])
    config = CurriculumConfig(order="random", warmup_steps=0.5)
    html, page = write(dataset, tmp_path, curriculum=config, total_steps=10)
    assert "starts with a random part of the rows" in html
    schedule, rows = page["schedule"], page["map"]["rows"]
    assert sorted(rows) == list(range(300))
    for step in (0, 3):
        sampler = CurriculumSampler(None, config, rows=300, total_batch_size=60_000, total_steps=10)
        drawn = np.bincount(sampler.indices(step), minlength=300) / 60_000  # all rows, with a difficulty or without
        one = schedule["drawn"][step]
        expected = 1 - (1 - drawn[rows]) ** 300
        assert np.abs(np.array(one["chance"]) / 100 - expected).max() < 0.13  # five deviations
        assert np.mean(one["chance"]) / 100 == pytest.approx(one["fraction"], abs=0.005)
        of_scored = drawn[: 300 - missing] / drawn[: 300 - missing].sum()
        assert one["mean"] == pytest.approx(of_scored @ scores[missing:], abs=0.01)
        assert sum(one["share"]) == pytest.approx(1)


@pytest.mark.parametrize(("warmup", "total"), [(0.5, 1000), (30, 40), (7, 10_000), (50, 20)])
def test_the_buttons_stand_at_the_middle_and_the_end_of_the_warm_up(warmup, total, tmp_path):
    _, page = write(plain(), tmp_path, curriculum=CurriculumConfig(warmup_steps=warmup), total_steps=total)
    schedule = page["schedule"]
    steps = {name: schedule["drawn"][position]["step"] for name, position in schedule["buttons"].items()}
    end = min(warmup if isinstance(warmup, int) else int(warmup * total), total)
    middle = (warmup if isinstance(warmup, int) else int(warmup * total)) // 2
    assert steps == {"Start": 0, "Half-way up": min(middle, total), "Uniform": end}


def test_the_facts_are_those_of_the_card_and_in_words(scored, tmp_path):
    html, page = write(scored, tmp_path)
    assert page["facts"]["Encoder"] == "builtin/hog" and "prototype" in page["facts"]["Difficulty"]
    for name, value in page["facts"].items():
        assert f'<th scope="row">{name}</th><td>{value}</td>' in html


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mislabelled(digits):
    """Digits of which thirty have the next label, clustered without labels; and which they are."""
    wrong = np.random.default_rng(1).choice(len(digits), 30, replace=False)
    labels = np.array(digits["label"])
    labels[wrong] = (labels[wrong] + 1) % 10
    noisy = digits.remove_columns("label").add_column("label", labels.tolist())
    noisy = noisy.cast_column("label", ClassLabel(names=[f"digit {i}" for i in range(10)]))
    return add_difficulty(noisy, "builtin/hog", n_clusters=10), set(wrong.tolist())


def test_labels_that_look_wrong_are_those_nearer_to_another_class(mislabelled, tmp_path):
    dataset, wrong = mislabelled
    _, page = write(dataset, tmp_path)
    found, given = page["labels"], np.array(dataset["label"])
    matrix = np.array(dataset["embedding"], np.float64)
    spread = matrix.std(0)
    rows = (matrix - matrix.mean(0)) / np.where(spread > 0, spread, 1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    margins = {}
    for row, label in enumerate(given):
        others = np.arange(len(rows)) != row
        means = np.stack([rows[others & (given == k)].mean(0) for k in range(10)])
        apart = np.linalg.norm(rows[row] - means, axis=1)
        own, apart[label] = apart[label], np.inf
        margins[row] = own / apart.min() - 1, int(apart.argmin())
    doubtful = sorted((row for row in margins if margins[row][0] > 1e-4), key=lambda row: -margins[row][0])
    names = found["names"]
    assert found["wrong"] == doubtful and found["n_wrong"] == len(doubtful)
    assert [names[code] for code in found["given"]] == [f"digit {given[row]}" for row in doubtful]
    assert [names[code] for code in found["suggested"]] == [f"digit {margins[row][1]}" for row in doubtful]
    assert len(wrong & set(found["wrong"][:40])) > 20
    for code, row in found["prototypes"].items():
        own = [other for other in margins if f"digit {given[other]}" == names[int(code)]]
        assert row == min(own, key=lambda other: margins[other][0])
        assert str(row) in page["examples"]


def test_a_suggested_label_is_taken_where_there_is_one(tmp_path):
    dataset = plain(scores=(0.1, 0.9, 0.2, 0.8), label=["a", "a", "b", "b"], suggested_label=["a", "b", "b", "a"])
    features = dataset.features.copy()
    features["difficulty"] = Value("float32", id=json.dumps({"label_column": "label"}))
    _, page = write(dataset.cast(features), tmp_path)
    names, found = page["labels"]["names"], page["labels"]
    assert found["wrong"] == [1, 3]
    assert [names[code] for code in found["suggested"]] == ["b", "a"]
    assert {names[int(code)]: row for code, row in found["prototypes"].items()} == {"a": 0, "b": 2}


def test_what_the_margin_suggests_is_shown_until_the_rows_are_scored_by_distance(mislabelled, tmp_path):
    dataset, _ = mislabelled
    scored = add_difficulty(dataset.select_columns(["label", "embedding"]), label_column="label", measure="margin")
    html, page = write(scored, tmp_path)
    difficulty, label, suggested = (np.array(scored[name]) for name in ("difficulty", "label", "suggested_label"))
    doubtful = np.flatnonzero(label != suggested)
    assert set(page["labels"]["wrong"]) == set(doubtful.tolist())
    assert (np.diff(difficulty[page["labels"]["wrong"]]) <= 0).all()
    names = [page["labels"]["names"][code] for code in page["labels"]["suggested"]]
    assert names == [f"digit {suggested[row]}" for row in page["labels"]["wrong"]]
    estimate = provenance(scored)["doubtful_labels"]
    assert 0 < estimate < len(doubtful) and f"About {estimate} labels look wrong by an estimate" in html
    assert page["facts"]["Labels that look wrong, an estimate"] == str(estimate)
    again = add_difficulty(scored, n_clusters=10)
    assert "suggested_label" in again.column_names
    html, page = write(again, tmp_path)
    _, expected = write(again.remove_columns("suggested_label"), tmp_path)
    assert page["labels"]["wrong"] == expected["labels"]["wrong"] and "an estimate that" not in html


def test_each_cluster_has_the_mix_of_its_labels_and_the_rare_ones_are_listed(mislabelled, tmp_path):
    dataset, _ = mislabelled
    _, page = write(dataset, tmp_path)
    label, cluster = np.array(dataset["label"]), np.array(dataset["cluster"])
    names = page["labels"]["names"]
    odd = {}
    for one in page["clusters"]:
        counts = np.bincount(label[cluster == one["cluster"]], minlength=10)
        mix = {names[code]: size for code, size in one["mix"]}
        assert list(mix.values()) == sorted(counts[counts > 0], reverse=True)[:6]
        assert all(counts[int(name.removeprefix("digit "))] == size for name, size in mix.items())
        if 2 * counts.max() > counts.sum():
            for row in np.flatnonzero((cluster == one["cluster"]) & (label != counts.argmax())):
                odd[row] = counts[label[row]] / counts.sum()
    found = page["labels"]
    assert set(found["strangers"]) <= set(odd) and found["n_strangers"] == len(odd)
    shares = [odd[row] for row in found["strangers"]]
    assert shares == sorted(shares) and len(shares) == min(50, len(odd)) and shares[-1] <= max(odd.values())


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3]], ids=["one class", "a class a row"])
def test_labels_that_tell_no_classes_apart_are_left_out(labels, tmp_path):
    html, page = write(plain(label=labels).cast_column("label", ClassLabel(num_classes=4)), tmp_path)
    assert page["labels"] is None and '<section id="labels"' not in html


def test_rows_without_a_label_or_a_difficulty_are_no_doubts(tmp_path):
    rng = np.random.default_rng(0)
    embeddings = rng.random((8, 3)).tolist()
    embeddings[7] = None
    dataset = Dataset.from_dict(
        {"embedding": embeddings, "label": [0, 0, None, 1, 1, 1, 0, 1], "difficulty": [*range(7), None]}
    ).cast_column("label", ClassLabel(names=["a", "b"]))
    dataset = dataset.add_column("cluster", [5, 5, 5, 900_000_000, 5, 5, 5, 5])  # numbers may have gaps
    _, page = write(dataset, tmp_path)
    assert not {2, 7} & set(page["labels"]["wrong"]) and not {2, 7} & set(page["labels"]["strangers"])
    assert {one["cluster"]: sum(size for _, size in one["mix"]) for one in page["clusters"]} == {5: 5, 900_000_000: 1}
    assert page["hardest"] == [6, 5, 4, 3, 2, 1, 0]


# --- what it leaves out -------------------------------------------------------------------------------------------


def test_a_difficulty_of_your_own_is_enough(tmp_path):
    dataset = Dataset.from_dict({"loss": [3.0, 1.0, 2.0, None], "text": list("abcd")})
    html, page = write(dataset, tmp_path, curriculum=CurriculumConfig(difficulty_column="loss"))
    assert (page["rows"], page["unscored"], page["map"], page["curve"], page["record"]) == (4, 1, None, [], [])
    assert page["clusters"] == [{"cluster": None, "rows": 3, "mean": 2.0, "easiest": [1, 2], "hardest": [0]}]
    assert page["examples"]["1"] == {"difficulty": 1.0, "cluster": None, "fields": [], "text": "b"}
    assert "1 of them without a difficulty" in html
    for section in ("clusters", "map", "record"):
        assert f'<section id="{section}"' not in html


def test_a_large_dataset_is_sampled_and_the_page_says_so(tmp_path):
    dataset = Dataset.from_dict(
        {
            "embedding": np.ones((3000, 4)).tolist(),  # at one place of the map, which costs nothing to draw
            "cluster": np.arange(3000) % 120,
            "difficulty": np.random.default_rng(0).random(3000),
        }
    )
    html, page = write(dataset, tmp_path)
    assert len(page["map"]["rows"]) == 2000 and len(page["clusters"]) == 100 and len(page["sizes"]) == 120
    assert "a sample of 2,000 rows" in html
    assert "The 100 largest of 120 clusters." in html


def test_a_small_dataset_is_whole_and_the_page_says_so(scored, tmp_path):
    html, page = write(scored, tmp_path)
    assert page["map"]["rows"] == list(range(len(scored)))
    assert "a sample of" not in html and "largest of" not in html


def test_only_rows_that_can_be_heard_carry_sound(clips, tmp_path):
    dataset = add_difficulty(clips, "builtin/logmel", n_clusters=1)
    dataset = concatenate_datasets([dataset] * 4)  # more rows than lists have
    curriculum = CurriculumConfig(initial_fraction=0.01, final_fraction=0.02, warmup_steps=1.0)
    _, page = write(dataset, tmp_path, curriculum=curriculum)
    assert any("audio" not in example for example in page["examples"].values())
    [cluster] = page["clusters"]
    heard = set(cluster["easiest"] + cluster["hardest"])
    heard |= {row for drawn in page["schedule"]["drawn"] for row in drawn["rows"]} | set(page["hardest"])
    assert {int(row) for row, example in page["examples"].items() if "audio" in example} == heard


def test_clusters_that_coincide_have_no_point_on_the_curve(tmp_path):
    dataset = add_difficulty(
        Dataset.from_dict({"embedding": [[0.0], [0.0], [1.0], [1.0], [2.0]]}), cluster_range=(2, 4)
    )
    _, page = write(dataset, tmp_path)
    assert all(np.isfinite(index) for _, index in page["curve"])


# --- one file, and hostile rows -----------------------------------------------------------------------------------


def test_nothing_is_fetched(scored, tmp_path):
    html, _ = write(scored, tmp_path)
    outside = html[: html.index("<script>")] + html[html.rindex("<script>") :]
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", outside)
    assert "default-src 'none'" in html


@pytest.mark.parametrize("text", ENDS)
def test_hostile_text_stays_text(text, tmp_path):
    features = {"difficulty": Value("float32"), text: Value("string"), "kind": ClassLabel(names=[text])}
    dataset = Dataset.from_dict({"difficulty": [0.1, 0.2], text: [text, "a"], "kind": [0, 0]}, Features(features))
    html, page = write(dataset, tmp_path, title=text, input_column=text)
    assert page["examples"]["0"]["text"] == text
    assert page["examples"]["0"]["fields"] == [["kind", text]]
    own = html.replace(DATA.search(html)[0], "")
    assert unescape(re.search(r"<title>(.*?)</title>", own, re.DOTALL)[1]) == text
    assert html.count("<script") == len(re.findall(r"<script", write(plain(), tmp_path)[0]))
    if "<" in text:
        assert text not in html[: html.index("<script id=")] and text not in DATA.search(html)[1]


def test_hostile_provenance_is_escaped(scored, tmp_path):
    record = json.dumps({"model": ENDS[0], "embedding": {"model_id": ENDS[3]}})
    features = scored.features.copy()
    features["difficulty"] = Value("float32", id=record)
    html, page = write(scored.cast(features), tmp_path)
    assert dict(page["record"]) == {"model": ENDS[0], "model_id": ENDS[3]}
    assert ENDS[0] not in html and ENDS[3] not in html


def test_a_record_of_another_tool_is_shown_as_far_as_it_is_one(scored, tmp_path):
    record = {"embedding": "mine", "davies_bouldin_curve": {"a": 1, "3": "x", "4": 0.5}, "options": [], "seed": [1, 2]}
    features = scored.features.copy()
    features["difficulty"] = Value("float32", id=json.dumps(record))
    _, page = write(scored.cast(features), tmp_path)
    assert (page["record"], page["curve"]) == ([], [[4, 0.5]])


def test_ten_megabytes_of_text_are_cut(tmp_path):
    html, _ = write(plain(text=["x" * 10_000_000, "y", "z", "x" * 10_000_000]), tmp_path)
    empty, _ = write(plain(text=["", "", "", ""]), tmp_path)
    assert len(html) - len(empty) < 1_000


def test_a_write_that_fails_leaves_the_old_page_and_follows_no_link(tmp_path):
    treasure, page = tmp_path / "treasure", tmp_path / "pages" / "report.html"
    treasure.write_text("mine")
    page.parent.mkdir()
    page.symlink_to(treasure)
    report(plain(), page)
    assert treasure.read_text() == "mine" and not page.is_symlink()
    before = page.read_bytes()
    limit, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            report(plain(), page)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert page.read_bytes() == before and list(page.parent.iterdir()) == [page]


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "options", "error", "message"),
    [
        (Dataset.from_dict({"text": ["a"]}), {}, ValueError, r"'difficulty' is not in .*add_difficulty\(dataset"),
        (DatasetDict(train=plain()), {}, TypeError, r"Pass one split, e.g. dataset\['train'\]"),
        (plain().select([]), {}, ValueError, "has no rows"),
        (plain(scores=["a"]), {}, ValueError, "'difficulty' holds string, not numbers"),
        (plain(), {"input_column": "texts"}, ValueError, "'texts' is not in the dataset"),
        (plain(embedding=[1, 2, 3, 4]), {}, ValueError, "'embedding' holds int64, not embeddings"),
    ],
)
def test_what_cannot_be_shown_is_named_and_no_file_is_left(dataset, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        report(dataset, tmp_path / "new" / "report.html", **options)
    assert not (tmp_path / "new").exists()


def test_the_path_comes_back_and_its_folder_is_made(tmp_path):
    path = report(plain(), str(tmp_path / "a" / "b" / "page.html"))
    assert path == tmp_path / "a" / "b" / "page.html" and path.stat().st_size > 1_000_000
