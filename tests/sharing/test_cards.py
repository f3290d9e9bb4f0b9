"""The text of a dataset's card: what it says, what it quotes safely, and whose words it keeps."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, Value, Video
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard
from sklearn.cluster import MiniBatchKMeans

from hf_curriculum import CurriculumConfig, DifficultyScorer, add_difficulty, curriculum_weights, provenance
from hf_curriculum._optional import HOME, install_line
from hf_curriculum.data.columns import add_columns
from hf_curriculum.data.record import score_features
from hf_curriculum.sharing.card_merge import BEGIN, END, guess_tasks, merge_card, size_category
from hf_curriculum.sharing.card_section import card_section

HOSTILE = f"a|b\n`c` **d** <img src=x onerror=alert(1)> [e](javascript:f) {END} {BEGIN} ``` \\ &lt; \x1b \u202e"
YAML = "dataset_info:\n  splits:\n  - name: train\n    num_examples: {rows}\n"


def embedded(rows=60, **columns):
    vectors = np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float32)
    return Dataset.from_dict({"embedding": vectors, **columns})


@pytest.fixture(scope="module")
def scored():
    return add_difficulty(embedded(), n_clusters=4)


def with_record(scored, **changed):
    """The scored dataset with another record."""
    table = scored.data.table
    columns = {name: table.column(name).combine_chunks() for name in ("cluster", "distance", "difficulty")}
    return add_columns(scored, columns, score_features(provenance(scored) | changed))


def section(dataset, repo_id="me/scored", **options):
    return card_section({"train": dataset}, repo_id, **options)


def tables(text):
    """The tables, each a list of rows, split at the pipes that are not escaped."""
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[re.split(r"(?<!\\) ?\| ?", line)[1:-1] for line in block.splitlines()] for block in blocks]


def facts(text):
    return {name: value for name, value in tables(text)[0][2:]}


def code(text):
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def card(body, metadata="license: mit\n", rows=60):
    return f"---\n{metadata}{YAML.format(rows=rows)}---\n{body}"


# --- the section --------------------------------------------------------------------------------------------------


def test_it_says_what_was_scored_and_how(scored):
    record = provenance(scored)
    assert facts(section(scored)) == {
        "Rows": "60 (train)",
        "Prototypes": str(record["n_clusters"]),
        "Number of clusters": "4, given",
        "Davies-Bouldin index": f"{record['davies_bouldin']:.4g}",
        "Embeddings before clustering": "standardised and brought to length 1",
        "Measure": "distance",
        "Difficulty": "distance to the prototype, from 0 (lowest of the cluster) to 1 (highest)",
        "Seed": "42",
        "hf-curriculum": record["version"],
    }


def test_it_names_the_encoder_the_choice_of_k_and_the_classes(sentences, tiny_bert):
    dataset = sentences.add_column("label", [row % 2 for row in range(60)])
    found = facts(section(add_difficulty(dataset, tiny_bert, cluster_range=(2, 5))))
    assert found["Number of clusters"] == "lowest Davies-Bouldin index, 2 to 5"
    assert found["Input column"] == "text" and found["Pooling"] == "mean"
    name, weights = Path(tiny_bert).name, provenance(add_difficulty(dataset, tiny_bert))["embedding"]["weights"]
    assert found["Encoder"].replace("\\", "") == f"{name}, a local folder, weights {weights}"
    options = {"label_column": "label", "measure": "distance", "normalize": "rank"}
    found = facts(section(add_difficulty(dataset, tiny_bert, **options)))
    assert found["Clustered inside each class of"] == "label"
    assert found["Number of clusters"] == "the index has no minimum; K = sqrt(N)"
    assert found["Difficulty"].startswith("rank")


def test_it_says_that_clusters_coincide():
    dataset = Dataset.from_dict({"embedding": [[1.0, 2.0]] * 20})
    scored = add_difficulty(dataset, scorer=DifficultyScorer(clusterer=MiniBatchKMeans(2, n_init=1)))
    assert facts(section(scored))["Davies-Bouldin index"] == "inf"


def test_the_call_scores_the_same_again(sentences, tiny_bert):
    dataset = sentences.add_column("label", [row % 2 for row in range(60)])
    calls = [
        {"n_clusters": 3, "seed": 5, "normalize": "rank", "pooling": "max"},
        {"cluster_range": (2, 4), "normalize": None},
        {"n_clusters": 2, "label_column": "label"},
        {"label_column": "label", "measure": "distance", "seed": 3},
        {"label_column": "label", "scorer": DifficultyScorer(2, standardize=False, measure="margin")},
        {"label_column": "label", "scorer": DifficultyScorer(2, standardize=False)},
        {"scorer": DifficultyScorer(3, standardize=False, repeats=2)},
    ]
    for options in calls:
        wanted, names = add_difficulty(dataset, tiny_bert, **options), {"dataset": dataset}
        call = code(section(wanted))[0]
        assert tiny_bert not in call
        exec(call.replace(f"path/to/{Path(tiny_bert).name}", tiny_bert), names)
        assert names["scored"]["difficulty"][:] == wanted["difficulty"][:]
        assert provenance(names["scored"]) == provenance(wanted)


@pytest.mark.parametrize("options", [{"n_clusters": 3}, {"cluster_range": (2, 4), "pooling": "mean", "layer": -2}])
def test_the_call_names_a_model_of_the_hub_and_runs_as_it_is(digits, tiny_dino, options):
    wanted, names = add_difficulty(digits, "facebook/dino-vits16", **options), {"dataset": digits}
    exec(code(section(wanted))[0], names)
    assert names["scored"]["difficulty"][:] == wanted["difficulty"][:]
    assert provenance(names["scored"]) == provenance(wanted)
    assert "local" not in provenance(wanted)["embedding"]


def test_the_call_is_short_where_all_is_as_by_default():
    assert code(section(add_difficulty(embedded())))[0].splitlines()[2:] == ["scored = add_difficulty(dataset)"]


def test_the_call_says_what_it_cannot_name(scored):
    from sklearn.cluster import MiniBatchKMeans

    clustered = add_difficulty(embedded(), scorer=DifficultyScorer(clusterer=MiniBatchKMeans(3, random_state=0)))
    dataset = with_record(clustered, embedding={"model_id": "Flatten", "input_column": "image"})
    text = code(section(dataset))[0]
    assert '# model: "Flatten"\n' in text and '# clusterer: "MiniBatchKMeans(' in text
    ast.parse(text)
    assert "scorer = DifficultyScorer(clusterer=clusterer)" in text
    assert 'add_difficulty(dataset, model, input_column="image", scorer=scorer)' in text


def test_clusters_are_as_counted_by_hand(scored):
    frame = scored.select_columns(["cluster", "distance", "difficulty"]).to_pandas()
    _, _, *rows = tables(section(scored))[1]
    assert len(rows) == frame["cluster"].nunique()
    sizes = [int(row[1]) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    for number, size, difficulty, distance, prototype in rows:
        members = frame[frame["cluster"] == int(number)]
        assert (int(size), int(prototype)) == (len(members), members["distance"].idxmin())
        assert float(difficulty) == pytest.approx(members["difficulty"].mean(), abs=6e-4)
        assert float(distance) == pytest.approx(members["distance"].mean(), rel=1e-3)


def test_rows_without_a_difficulty_are_left_out_and_not_renumbered():
    vectors = np.random.default_rng(0).normal(size=(40, 3)).tolist()
    dataset = Dataset.from_dict({"embedding": [None, None, *vectors]})
    scored = add_difficulty(dataset, n_clusters=2)
    _, _, *rows = tables(section(scored))[1]
    assert sum(int(row[1]) for row in rows) == 40
    for number, *_, prototype in rows:
        assert scored[int(prototype)]["cluster"] == int(number)
        assert scored[int(prototype)]["difficulty"] == pytest.approx(0, abs=1e-6)


def test_the_largest_twenty_clusters_are_shown():
    scored = add_difficulty(embedded(rows=400), n_clusters=30)
    text, there = section(scored), len(set(scored["cluster"]))
    assert len(tables(text)[1]) == 2 + 20
    assert f"The 20 largest clusters; there are {there - 20} more." in text


@pytest.mark.parametrize("names", [["cat", "d|og"], None], ids=["names", "numbers"])
def test_clusters_of_classes_say_their_class(names):
    features = Features({"label": ClassLabel(names=names) if names else Value("int64")})
    labels = Dataset.from_dict({"label": [row % 2 for row in range(60)]}, features=features)
    dataset = add_difficulty(
        labels.add_column("embedding", embedded()["embedding"][:]), n_clusters=2, label_column="label"
    )
    _, _, *rows = tables(section(dataset))[1]
    for number, *_, shown in rows:
        label = dataset["label"][dataset["cluster"][:].index(int(number))]
        assert shown == (["cat", "d\\|og"][label] if names else str(label))
    assert len(tables(section(dataset.remove_columns("label")))[1][0]) == 5


def test_a_dataset_without_a_record_has_no_call_and_no_empty_rows(scored):
    plain = scored.cast(Features({name: scored.features[name] for name in scored.column_names}))
    columns = {name: plain.data.table.column(name).combine_chunks() for name in ("cluster", "distance", "difficulty")}
    bare = add_columns(plain, columns, score_features({}))
    text = section(bare)
    assert len(code(text)) == 1 and "load_dataset" in code(text)[0]
    assert facts(text) == {"Rows": "60 (train)"}


@pytest.mark.parametrize("pictures", [[], ["curriculum/difficulty.png"]])
def test_there_is_no_heading_without_text(scored, pictures):
    text = section(scored, pictures=pictures)
    assert not re.search(r"^#.*\n\s*(#|<!--)", text, re.MULTILINE)
    assert re.findall(r"!\[.*?\]\((.*?)\)", text) == pictures


def test_the_lines_to_train_name_configuration_split_and_branch(scored):
    splits = {"test": scored.select(range(20)), "train": scored}
    assert 'load_dataset("me/scored", split="train")' in card_section(splits, "me/scored")
    text = card_section({"validation": scored}, "me/scored", config_name="en", revision="v2")
    assert 'load_dataset("me/scored", "en", split="validation", revision="v2")' in text
    assert "20 (test), 60 (train)" in card_section(splits, "me/scored")


def test_what_is_on_the_hub_is_a_link_and_what_is_local_is_none(scored, sentences, tiny_bert):
    hub = with_record(scored, embedding={"model_id": "facebook/dinov2-small", "pooling": "cls"})
    found = facts(section(hub, source="zh-plus/tiny-imagenet"))
    assert found["Encoder"] == "[facebook/dinov2-small](https://huggingface.co/facebook/dinov2-small)"
    linked = "[zh-plus/tiny-imagenet](https://huggingface.co/datasets/zh-plus/tiny-imagenet)"
    assert found["Dataset"] == linked and list(found)[0] == "Dataset"
    for embedding in ({"model_id": "builtin/hog"}, {"model_id": "Flatten"}, {"model_id": "a](b c", "pooling": "cls"}):
        found = facts(section(with_record(scored, embedding=embedding)))
        assert "](" not in found["Encoder"].replace("\\]", "") and "Dataset" not in found
    local = add_difficulty(sentences, tiny_bert, n_clusters=2)
    weights = provenance(local)["embedding"]["weights"]
    text = section(local)
    assert f"{Path(tiny_bert).name}, a local folder, weights {weights}" in facts(text)["Encoder"].replace("\\", "")
    assert f'# model: "{Path(tiny_bert).name}, a local folder, weights {weights}"' in code(text)[0]


def test_texts_are_tables(scored):
    texts = [f"text {row} {'a' * 300}" if row % 2 else f"{HOSTILE} {row}" for row in range(60)]
    dataset = add_difficulty(embedded(text=texts), n_clusters=4)
    text = section(dataset)
    _, _, examples, drawn = tables(text)
    assert examples[0] == ["cluster", "prototype", "hardest row"] and drawn[0] == ["difficulty", "drawn first"]
    difficulty, cluster = np.array(dataset["difficulty"]), np.array(dataset["cluster"])
    assert {int(number) for number, _, _ in examples[2:]} == set(cluster.tolist())
    for number, prototype, hardest in examples[2:]:
        rows = np.flatnonzero(cluster == int(number))
        for shown, row in ((prototype, rows[difficulty[rows].argmin()]), (hardest, rows[difficulty[rows].argmax()])):
            assert shown.startswith(f"text {row}" if row % 2 else "a\\|b \\`c\\`") and len(shown) < 500
    assert 4 <= len(drawn[2:]) <= 8 and np.mean([float(one) for one, _ in drawn[2:]]) < difficulty.mean()
    assert text.count(BEGIN) == text.count(END) == 1
    assert "<" not in text.removeprefix(BEGIN).removesuffix(END)


def test_each_cluster_has_the_mix_of_its_labels():
    label = ["cat"] * 30 + ["d|og"] * 15 + ["fish", "cow", "hen"] * 5
    dataset = add_difficulty(embedded(label=label), n_clusters=3)
    dataset = dataset.cast_column("label", ClassLabel(names=["cat", "d|og", "fish", "cow", "hen"]))
    header, _, *rows = tables(section(dataset))[1]
    assert header[-1] == "labels"
    frame = dataset.select_columns(["cluster", "label"]).to_pandas()
    for number, *_, mix in rows:
        shares = frame[frame["cluster"] == int(number)]["label"].value_counts(normalize=True)
        told = dict(re.fullmatch(r"(.*) (\d+) %", one).groups() for one in mix.split(", ") if "others" not in one)
        assert len(told) == min(3, len(shares))
        for name, share in told.items():
            code = ["cat", "d\\|og", "fish", "cow", "hen"].index(name)
            assert int(share) == round(100 * shares[code])
        rest = 100 * shares.iloc[3:].sum()
        assert (f"{rest:.0f} % others" in mix) == (rest >= 0.5)
    inside = add_difficulty(dataset, n_clusters=1, label_column="label")
    assert tables(section(inside))[1][0][-1] == "class"


def test_what_is_drawn_first_is_as_the_weights_have_it():
    dataset = add_difficulty(embedded(rows=500), n_clusters=5)
    weights = np.sort(curriculum_weights(np.array(dataset["difficulty"]), 0, CurriculumConfig(), 100))[::-1]
    half = int(np.searchsorted(np.cumsum(weights), 0.5)) + 1
    said = re.search(r"half of its first draws come from (\d+) of 500 rows.* are (\d+) % of them", section(dataset))
    assert abs(int(said[1]) - half) <= 1 and int(said[2]) == round(100 * weights[:15].sum())


def test_each_picture_has_words_and_a_caption(scored):
    names = ("schedule", "difficulty", "extremes", "first")
    text = section(scored, pictures=[f"curriculum/{name}.png" for name in names])
    for name in names:
        [(words, caption)] = re.findall(rf"!\[(.*)\]\(curriculum/{name}.png\)\n\n\*(.*)\*\n", text)
        assert len(words) > 15 and caption.endswith(".")


@pytest.mark.parametrize(
    ("feature", "options", "said"),
    [
        (
            Value("string"),
            {},
            ["masked language model", "initial_fraction=0.15, warmup_steps=0.2", "0.12 to 0.19 lower"],
        ),
        (
            Value("string"),
            {"label_column": "label", "measure": "distance"},
            ["40 % of", "initial_fraction=0.15", "5 to 18 points"],
        ),
        (
            Image(),
            {"label_column": "label"},
            ["whose `suggested_label` is their own", "1 to 29 points", "cost up to 31"],
        ),
        (Image(), {}, ["autoencoders to 128 epochs", "nothing beyond chance", "200 to 800 epochs"]),
        (Audio(decode=False), {}, ["autoencoders to 128 epochs", "nothing beyond chance"]),
        (Value("int64"), {}, ["No training on such data has been measured"]),
    ],
)
def test_it_recommends_what_the_evidence_has_for_such_data(feature, options, said):
    dataset = embedded(label=[row % 2 for row in range(60)])
    dataset = dataset.add_column("x", [None] * 60).cast_column("x", feature)
    text = section(add_difficulty(dataset, **options)).partition("### What to set\n")[2].partition("###")[0]
    text = " ".join(text.split())
    assert [part for part in said if part not in text] == []
    assert "(https://github.com/hf-curriculum/hf-curriculum/blob/main/docs/evidence.md)" in text
    evidence = Path(__file__).parents[2].joinpath("docs", "evidence.md").read_text().replace("+", "")
    evidence = " ".join(
        evidence.replace("1.4 to", "to").replace("masked autoencoders,", "masked autoencoders").split()
    )
    figures = re.findall(r"[\d.]+ to [\d.]+ \w+|to 128 epochs|\w+=0\.\d+", text)
    assert [figure for figure in figures if figure not in evidence] == []


def test_the_card_says_how_to_install_and_where_the_project_is(scored):
    text = section(scored)
    assert f"```bash\n{install_line()}\n```" in text and f"[hf-curriculum]({HOME})" in text


# --- hostile names ------------------------------------------------------------------------------------------------


def test_no_name_breaks_out_of_table_code_or_section(scored):
    embedding = {
        "model_id": HOSTILE,
        "revision": HOSTILE,
        "pooling": HOSTILE,
        "input_column": HOSTILE,
        "layer": HOSTILE,
    }
    dataset = with_record(
        scored, embedding=embedding, label_column=HOSTILE, clusterer=HOSTILE, version=HOSTILE, seed=HOSTILE
    )
    text = section(dataset, HOSTILE, revision=HOSTILE)
    assert text.count(BEGIN) == text.count(END) == 1
    assert text.startswith(BEGIN) and text.endswith(END)
    assert "<" not in text.removeprefix(BEGIN).removesuffix(END)
    assert "\x1b" not in text and "\u202e" not in text
    assert [len(row) for row in tables(text)[0]] == [2] * len(tables(text)[0])
    assert len(tables(text)) == 2
    outside = re.sub(r"^```(?:python|bash)\n.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for mark in ("`c`", "**d**", "[e](", "```"):
        assert mark not in outside
    scoring, training = code(text)
    assert HOSTILE in {node.value for node in ast.walk(ast.parse(scoring)) if isinstance(node, ast.Constant)}
    assert HOSTILE in {node.value for node in ast.walk(ast.parse(training)) if isinstance(node, ast.Constant)}


def test_a_long_name_is_cut(scored):
    for name in ("x" * 10_000, "x " * 10_000):
        dataset = with_record(scored, label_column=name)
        assert len(facts(section(dataset))["Clustered inside each class of"]) <= 200


def test_class_names_are_quoted_safely():
    features = Features({"label": ClassLabel(names=["a", HOSTILE])})
    labels = Dataset.from_dict({"label": [row % 2 for row in range(60)]}, features=features)
    dataset = labels.add_column("embedding", embedded()["embedding"][:])
    text = section(add_difficulty(dataset, n_clusters=1, label_column="label"))
    assert [len(row) for row in tables(text)[1]] == [6] * 4
    assert text.count(END) == 1


# --- into a card --------------------------------------------------------------------------------------------------

ONE, TWO = f"{BEGIN}\none\n{END}", f"{BEGIN}\ntwo\n{END}"


def merged(readme, section, **options):
    return merge_card(readme, section, Features({"difficulty": Value("float32")}), **options)


def body(text):
    return DatasetCard(text).text


def without_size(text):
    return re.sub("<!-- size_categories: .*? -->\n", "", text)


@pytest.mark.parametrize("readme", ["", card(""), card("\n\n")])
def test_an_empty_card_becomes_the_section(readme):
    assert without_size(body(merged(readme, ONE))).strip() == ONE


def test_a_card_without_words_gets_a_title_that_is_the_owners_then():
    once = merged(card(""), ONE, title="data")
    assert without_size(body(once)).strip() == f"# data\n\n{ONE}"
    mine = once.replace("# data", "# My data")
    assert "# data" not in merged(mine, TWO, title="data") and "# My data" in merged(mine, TWO, title="data")
    assert "# data" not in merged(card("Words"), ONE, title="data")


def test_the_source_joins_those_of_the_owner():
    once = merged(card("", metadata="source_datasets: [extended|x]\n"), ONE, source="me/data")
    assert metadata(once)["source_datasets"] == ["extended|x", "me/data"]
    assert metadata(merged(once, TWO, source="me/data"))["source_datasets"] == ["extended|x", "me/data"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\n\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_new_section_goes_to_the_end(end, newline):
    mine = f"# Mine\n\nWords{end}".replace("\n", newline)
    after = body(merged(card(mine).replace("\r\n", "\n").replace("\n", newline), ONE))
    assert after.startswith(mine)
    gap, _, rest = after[len(mine) :].partition(BEGIN)
    assert (mine + gap).endswith(2 * newline) and rest.endswith(END + newline)
    if newline == "\r\n":
        assert "\n" not in after.replace("\r\n", "")


def test_a_section_is_replaced_where_it_stands_and_the_rest_kept_byte_for_byte():
    before, after = "# Mine \t\n\n\nwords\u00a0|`<b>\n", "\n   more\n```\ncode\n```\n\n\n"
    readme = merged(card(before + ONE + after), TWO)
    assert without_size(body(readme)) == before + TWO + after
    assert merged(readme, TWO) == readme


def test_of_two_sections_one_is_left():
    readme = card(f"a {ONE} b {ONE} c")
    assert without_size(body(merged(readme, TWO))) == f"a {TWO} b  c"


@pytest.mark.parametrize("lone", [f"a {BEGIN} b", f"a {END} b", f"{END} a {BEGIN}"])
def test_beside_a_lone_marker_no_word_is_lost(lone, caplog):
    once = merged(card(lone), ONE)
    twice = merged(once, TWO)
    words = lone.replace(BEGIN, "").replace(END, "")
    assert without_size(body(twice)) == f"{words}\n\n{TWO}\n"
    assert "without the other" in caplog.text


def test_a_lone_marker_before_a_section_does_not_reach_into_it():
    after = without_size(body(merged(card(f"a {BEGIN} b {ONE} c {END} d"), TWO)))
    assert after == f"a  b {TWO} c  d"


def test_a_section_with_backslashes_is_put_in_as_it_is():
    strange = f"{BEGIN}\n\\1 \\g<0> \\n\n{END}"
    assert without_size(body(merged(card(ONE), strange))) == strange


# --- metadata -----------------------------------------------------------------------------------------------------


def metadata(text):
    return DatasetCard(text).data.to_dict()


def test_metadata_of_a_new_card():
    data = metadata(merged(card("", metadata="", rows=1500), ONE, guessed=["text-classification"]))
    assert data["tags"] == ["hf-curriculum", "curriculum-learning"]
    assert data["size_categories"] == ["1K<n<10K"] and data["task_categories"] == ["text-classification"]


def test_what_the_owner_wrote_stays():
    mine = {
        "license": "mit",
        "pretty_name": "My: data",
        "tags": ["mine", "curriculum-learning"],
        "task_categories": ["other"],
        "size_categories": ["n>1T"],
        "x-own": {"a": [1]},
    }
    yaml = (
        "license: mit\npretty_name: 'My: data'\ntags: [mine, curriculum-learning]\ntask_categories: other\n"
        "size_categories: n>1T\nx-own: {a: [1]}\n"
    )
    once = merged(card("", metadata=yaml), ONE, guessed=["text-classification"])
    data = metadata(merged(once, TWO, guessed=["text-classification"]))
    expected = mine | {"tags": ["mine", "curriculum-learning", "hf-curriculum"], "size_categories": "n>1T"}
    assert {name: data[name] for name in mine} == expected
    assert once.startswith("---\nlicense: mit\npretty_name: 'My: data'\ntags:\n- mine\n")


def test_tasks_that_are_asked_for_join_those_of_the_owner():
    readme = card("", metadata="task_categories: [other]\n")
    assert metadata(merged(readme, ONE, tasks=["text-generation"]))["task_categories"] == [
        "other",
        "text-generation",
    ]
    assert "task_categories" not in metadata(merged(card(""), ONE))


def test_the_size_is_that_of_all_configurations_and_follows_them():
    sizes = {"a": [600], "b": [300, 200]}
    yaml = "dataset_info:\n" + "".join(
        f"- config_name: {name}\n  splits:\n"
        + "".join(f"  - {{name: split{i}, num_bytes: 9, num_examples: {rows}}}\n" for i, rows in enumerate(splits))
        for name, splits in sizes.items()
    )
    first = merged(f"---\n{yaml}---\n", ONE)
    assert metadata(first)["size_categories"] == ["1K<n<10K"]
    assert metadata(merged(first.replace("600", "60000"), ONE))["size_categories"] == ["10K<n<100K"]
    corrected = first.replace("- 1K<n<10K", "- n<1K")  # the owner knows better
    assert metadata(merged(corrected, ONE))["size_categories"] == ["n<1K"]


@pytest.mark.parametrize(
    ("rows", "size"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M"), (10**12 - 1, "100B<n<1T"), (10**13, "n>1T")],
)
def test_sizes_are_those_of_the_hub(rows, size):
    assert size_category(rows) == size


@pytest.mark.parametrize(
    ("features", "task"),
    [
        ({"image": Image(), "label": ClassLabel(2)}, ["image-classification"]),
        ({"audio": Audio(), "label": ClassLabel(2)}, ["audio-classification"]),
        ({"video": Video(), "label": ClassLabel(2)}, ["video-classification"]),
        ({"text": Value("string"), "label": ClassLabel(2), "cluster": Value("int32")}, ["text-classification"]),
        ({"text": Value("string"), "label": ClassLabel(2), "suggested_label": ClassLabel(2)}, ["text-classification"]),
        ({"premise": Value("string"), "hypothesis": Value("string"), "label": ClassLabel(2)}, []),
        ({"image": Image(), "label": Value("int64")}, []),
        ({"image": Image(), "label": ClassLabel(2), "colour": ClassLabel(3)}, []),
        ({"label": ClassLabel(2)}, []),
    ],
)
def test_tasks_are_guessed_only_without_doubt(features, task):
    empty = {name: [] for name in features}
    assert guess_tasks(Dataset.from_dict(empty, features=Features(features))) == task


def test_missing_scores_are_named(scored):
    with pytest.raises(ValueError, match="'distance' is not in the dataset"):
        card_section(DatasetDict(train=scored.remove_columns("distance")), "me/scored")


def test_the_features_of_this_configuration_are_those_of_the_dataset(scored):
    yaml = "".join(
        f"- config_name: {name}\n  features:\n  - name: difficulty\n    dtype: float32\n    id: '{{\"seed\": 1}}'\n"
        "  splits:\n  - name: train\n    num_bytes: 9\n    num_examples: 60\n"
        for name in ("default", "en")
    )
    text = merge_card(f"---\ndataset_info:\n{yaml}---\n", ONE, scored.features, config_name="en")
    infos = DatasetInfosDict.from_dataset_card_data(DatasetCard(text).data)
    assert infos["en"].features == scored.features
    assert infos["en"].features["difficulty"].id == scored.features["difficulty"].id
    assert infos["default"].features["difficulty"].id == '{"seed": 1}'
    assert infos["default"].splits["train"].num_examples == infos["en"].splits["train"].num_examples == 60
