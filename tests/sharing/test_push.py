"""push_scored and load_dataset over HTTP: the clients are the real ones, the Hub is on the loopback interface."""

import io
import re

import pyarrow.parquet as pq
import pytest
from hub_client import client
from hub_server import TOKEN, Repo, drop, hide, hub, lose, refuse
from huggingface_hub import DatasetCard
from PIL import Image as PILImage

from hf_curriculum.sharing.card_merge import BEGIN, END

pytestmark = pytest.mark.costly

PICTURES = {f"curriculum/{name}.png" for name in ("schedule", "difficulty", "extremes", "first")}
TWO_PICTURES = {"curriculum/schedule.png", "curriculum/difficulty.png"}
SETUP = """
import logging, os, time
from datasets import Dataset, DatasetDict, disable_progress_bars, load_dataset
from hf_curriculum import CurriculumTrainer, add_difficulty, provenance, push_scored
from hf_curriculum.cli.demo import digits_dataset

disable_progress_bars()
digits = digits_dataset().select(range(120))
scored = add_difficulty(digits, "builtin/hog", n_clusters=2)  # few: most of a push is drawing the rows of each
texts = Dataset.from_dict({"text": [f"row {row} of texts" for row in range(60)], "x": [row / 60 for row in range(60)]})
texts = add_difficulty(texts, "builtin/tfidf", n_clusters=2)
retexts = add_difficulty(texts, n_clusters=3)

def same(one, two):
    columns = ["cluster", "distance", "difficulty"]
    return all(one[name][:] == two[name][:] for name in columns) and provenance(one) == provenance(two) != {}
"""


@pytest.fixture(scope="module")
def server():
    with hub() as server:
        yield server


@pytest.fixture(scope="module")
def user(server, tmp_path_factory):
    with client(server, tmp_path_factory.mktemp("user")) as user:
        user.run(SETUP)
        yield user


@pytest.fixture
def repo(server):
    """An empty repository ``me/data`` of this test, and no faults left from the one before."""
    server.faults.clear()
    server.log.clear()
    server.large.clear()
    server.repos["datasets/me/data"] = Repo()
    return server.repos["datasets/me/data"]


@pytest.fixture
def gone(server, repo):
    """No repository yet."""
    del server.repos["datasets/me/data"]


def readme(repo, branch="main"):
    return repo.files(branch)["README.md"].decode()


def assert_whole(repo, branch="main"):
    """One section, and each picture that it shows is there, and no other."""
    text, files = readme(repo, branch), repo.files(branch)
    assert text.count(BEGIN) == text.count(END) == 1
    shown = set(re.findall(r"!\[.*?\]\((.*?)\)", text))
    assert shown == {path for path in files if path.startswith("curriculum/")}
    for path in shown:
        assert min(PILImage.open(io.BytesIO(files[path])).size) > 200


# --- there and back -----------------------------------------------------------------------------------------------


def test_a_dataset_of_images_comes_back_as_it_was(server, user, gone):
    url = user.run("answer = push_scored(scored, 'me/data')")
    repo = server.repos["datasets/me/data"]
    assert url == f"{server.url}/datasets/me/data/commit/{repo.at('main')}"
    assert len(repo.commits) == 3  # the empty first one, the data, the card
    assert_whole(repo)
    assert set(repo.files()) == {"README.md", "data/train-00000-of-00001.parquet", *PICTURES}
    user.run("back = load_dataset('me/data', split='train')")
    assert user.run("answer = same(back, scored) and provenance(back, 'embedding') == provenance(scored, 'embedding')")
    assert user.run("answer = back.features == scored.features and back[7]['image'] == scored[7]['image']")
    assert DatasetCard(readme(repo)).data["task_categories"] == ["image-classification"]


def test_a_new_card_has_a_title_and_says_where_the_rows_came_from(user, gone, server):
    user.run("push_scored(texts, 'me/data', source='me/raw')")
    repo = server.repos["datasets/me/data"]
    assert "\n# data\n\n<!-- hf-curriculum:begin -->" in readme(repo)
    assert "| Dataset | [me/raw](https://huggingface.co/datasets/me/raw) |" in readme(repo)
    assert DatasetCard(readme(repo)).data["source_datasets"] == ["me/raw"]
    assert set(repo.files()) >= TWO_PICTURES and "curriculum/first.png" not in repo.files()  # texts are tables
    assert "| difficulty | drawn first |" in readme(repo)
    error, _ = user.error("push_scored(texts, 'me/data', source='no name')")
    assert "no name" in error


@pytest.mark.slow
def test_the_lines_of_the_card_train_on_what_came_back(user, repo, tmp_path):
    user.run("push_scored(texts, 'me/data')")
    load, *_ = re.findall(r"```python\n(from datasets .*?)```", readme(repo), re.DOTALL)
    user.run(f"""
from tiny import OneWeight, options, watch
from transformers import TrainingArguments
model, args = OneWeight(), TrainingArguments(**options({str(tmp_path)!r}))
seen = watch(model, "x")
exec({load!r})
""")
    assert user.run("answer = same(dataset, texts) and dataset.column_names == texts.column_names")
    seen = user.run("answer = [round(x * 60) for batch in seen for x in batch.tolist()]")
    wanted = user.run("answer = [int(row) for step in range(40) for row in trainer.curriculum_sampler.indices(step)]")
    assert seen == wanted


@pytest.mark.slow
def test_all_splits_come_back_and_the_card_shows_train(user, repo):
    user.run(
        "both = add_difficulty(DatasetDict(test=digits.select(range(30)), train=digits), 'builtin/hog', n_clusters=2)"
    )
    user.run("push_scored(both, 'me/data')")
    user.run("back = load_dataset('me/data')")
    assert user.run("answer = same(back['train'], both['train']) and same(back['test'], both['test'])")
    assert_whole(repo)
    assert "| Rows | 30 (test), 120 (train) |" in readme(repo) and 'split="train"' in readme(repo)


@pytest.mark.slow
def test_sorted_files_come_back_and_a_stream_of_them_is_drawn_from(user, repo):
    user.run("""
import io
import pyarrow.parquet as pq
from datasets import Image
from hf_curriculum import curriculum_stream
from hf_curriculum.data import sorted_files
sorted_files.FILE_ROWS = 50  # so that there are several
both = DatasetDict(train=scored, test=scored.select(range(30)))
push_scored(both, "me/data", sort=True)
back = load_dataset("me/data", split="train")
drawn = list(curriculum_stream(load_dataset("me/data", split="train", streaming=True), total_batch_size=4,
                               total_steps=30))
""")
    names = {path for path in repo.files() if path.endswith(".parquet")}
    assert names == {f"data/train-0000{i}-of-00003.parquet" for i in range(3)} | {"data/test-00000-of-00001.parquet"}
    for name in names:
        file = pq.ParquetFile(io.BytesIO(repo.files()[name]))
        values = file.read(columns=["difficulty"]).column(0).to_pylist()
        assert values == sorted(values) and file.metadata.row_group(0).sorting_columns
    assert_whole(repo)
    assert user.run("answer = back.features == scored.features and provenance(back) == provenance(scored) != {}")
    user.run("""
def by_picture(dataset):
    return sorted((image.tobytes(), *rest) for image, *rest in zip(
        dataset["image"], dataset["cluster"], dataset["distance"], dataset["difficulty"]))
""")
    assert user.run("answer = by_picture(back) == by_picture(scored)")
    assert user.run(
        "answer = {row['image'].tobytes() for row in drawn} <= {image.tobytes() for image in scored['image']}"
    )
    assert 60 < user.run("answer = len(drawn)") < 180


def test_sorting_decides_what_a_file_holds(user, repo):
    error, _ = user.error("push_scored(scored, 'me/data', sort=True, max_shard_size='1MB')")
    assert "sort=True decides what is in a file" in error
    assert len(repo.commits) == 1


@pytest.mark.slow
def test_a_stream_that_is_scored_on_the_way_is_pushed_with_its_provenance(user, repo):
    """Rows that no disk holds: scored as they pass, pushed as they pass."""
    user.run("""
import numpy as np
from hf_curriculum import CurriculumConfig, DifficultyScorer, Embedder, curriculum_stream
from datasets import Features, List, Value
vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
features = Features({"row": Value("int64"), "embedding": List(Value("float32"), length=8)})
rows = Dataset.from_dict({"row": range(300), "embedding": vectors}).cast(features)
scorer = DifficultyScorer(n_clusters=4).fit(vectors, trained_on={"model_id": "me/encoder"})
plain = rows.to_iterable_dataset(3)
on_the_way = plain.map(scorer, batched=True, features=scorer.features(plain.features))
on_the_way.push_to_hub("me/data")
streamed = load_dataset("me/data", split="train", streaming=True)
loaded = load_dataset("me/data", split="train")
""")
    assert user.run("answer = provenance(streamed) == provenance(loaded) == provenance(on_the_way)")
    assert user.run("answer = provenance(streamed) == scorer.record({'model_id': 'me/encoder'})")
    assert user.run("answer = provenance(streamed)['quantiles'] == scorer.quantiles_")
    assert user.run("answer = sorted(loaded['row'])") == list(range(300))
    assert user.run("answer = np.allclose(loaded.sort('row')['difficulty'], scorer.score(vectors).difficulty)")
    # The quantiles are there: no row is read to guess them, and nothing is said of it.
    user.run("""
import io
heard = io.StringIO()
logging.getLogger("hf_curriculum").addHandler(logging.StreamHandler(heard))
drawn = curriculum_stream(streamed, CurriculumConfig(warmup_steps=10), total_batch_size=4)
rows = [row["row"] for row in drawn]
""")
    assert user.run("answer = heard.getvalue()") == "" and len(user.run("answer = rows")) > 200


@pytest.mark.slow
def test_embeddings_may_stay_at_home(user, repo):
    user.run("push_scored(scored.remove_columns('embedding'), 'me/data')")
    assert user.run("answer = same(load_dataset('me/data', split='train'), scored)")
    assert "| Encoder | builtin/hog |" in readme(repo)


@pytest.mark.slow
def test_rows_without_a_difficulty_and_undecoded_images_are_drawn(user, repo):
    user.run("""
from datasets import Image
rows = [None if row == 3 else image for row, image in enumerate(digits["image"])]
holes = Dataset.from_dict({"image": rows}, features=digits.select_columns("image").features)
holes = add_difficulty(holes, "builtin/hog", n_clusters=2, on_error="null").cast_column("image", Image(decode=False))
push_scored(holes.with_format("torch"), "me/data")
back = load_dataset("me/data", split="train")
""")
    assert_whole(repo)
    assert PICTURES < set(repo.files())
    assert user.run("answer = [row for row, value in enumerate(back['difficulty'][:]) if value is None]") == [3]


def test_a_name_without_its_owner_is_that_of_the_user(server, user, repo):
    server.repos.pop("datasets/me/short", None)
    user.run("push_scored(texts, 'short', split='validation')")
    text = readme(server.repos["datasets/me/short"])
    assert 'load_dataset("me/short", split="validation")' in text


# --- the card of an owner -----------------------------------------------------------------------------------------

MINE = "---\nlicense: mit\npretty_name: Mine\ntags:\n- mine\n---\n# My data \n\n\nWords: `a|b`\t\n"


def test_pushing_again_replaces_our_section_only(user, repo):
    repo.write("README.md", MINE.encode())
    user.run("push_scored(texts, 'me/data')")
    first = readme(repo)
    assert "| Prototypes | 2 |" in first
    repo.write("README.md", (first + "\n## After\n\nmore  \n").encode())
    user.run("push_scored(retexts, 'me/data')")
    second = readme(repo)
    assert "| Prototypes | 3 |" in second and "| Prototypes | 2 |" not in second
    assert_whole(repo)
    own = MINE.split("---\n")[2]
    assert DatasetCard(second).text.startswith(own + "\n" + BEGIN)
    assert second.endswith(END + "\n\n## After\n\nmore  \n")
    data = DatasetCard(second).data
    assert (data["license"], data["pretty_name"]) == ("mit", "Mine")
    assert data["tags"] == ["mine", "hf-curriculum", "curriculum-learning"]
    assert user.run("answer = same(load_dataset('me/data', split='train'), retexts)")


@pytest.mark.slow
def test_pushing_the_same_again_commits_nothing(user, repo):
    user.run("push_scored(texts, 'me/data')")
    before = repo.at("main")
    user.run("push_scored(texts, 'me/data')")
    assert repo.at("main") == before


@pytest.mark.slow
def test_where_a_marker_is_lost_no_word_is(user, repo):
    user.run("push_scored(texts, 'me/data')")
    repo.write("README.md", (readme(repo).replace(END, "") + "Mine\n").encode())
    user.run("push_scored(retexts, 'me/data')")
    assert "Mine\n" in readme(repo).partition(BEGIN)[0] and "| Prototypes | 3 |" in readme(repo).partition(BEGIN)[2]
    assert readme(repo).count(BEGIN) == readme(repo).count(END) == 1


@pytest.mark.slow
def test_pictures_that_are_no_longer_shown_are_removed(user, repo):
    user.run("push_scored(scored, 'me/data')")
    assert PICTURES < set(repo.files())
    repo.write("curriculum/mine.png", b"mine")
    user.run("push_scored(texts.remove_columns('text'), 'me/data')")
    assert "curriculum/extremes.png" not in repo.files() and repo.files()["curriculum/mine.png"] == b"mine"


@pytest.mark.slow
def test_without_matplotlib_the_card_has_no_pictures(user, repo):
    user.run("push_scored(scored, 'me/data')")
    said = user.run("""
import sys

class NotInstalled:
    def find_spec(name, *rest):
        if name == "matplotlib":
            raise ModuleNotFoundError(name, name=name)

kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "matplotlib"}
sys.meta_path.insert(0, NotInstalled)
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append(record.getMessage())
logging.getLogger("hf_curriculum").addHandler(handler)
try:
    push_scored(scored, "me/data")
finally:
    logging.getLogger("hf_curriculum").removeHandler(handler)
    sys.meta_path.remove(NotInstalled)
    sys.modules.update(kept)
answer = records
""")
    assert any("no pictures" in line and "hf-curriculum[plot]" in line for line in said)
    assert_whole(repo)
    assert not PICTURES & set(repo.files())


def test_an_edit_in_between_is_kept(server, user, repo):
    def edit(handler):
        repo.write("README.md", (readme(repo) + "\nWritten meanwhile\n").encode())

    server.faults += [("POST .*/commit/", lambda handler: None), ("POST .*/commit/", edit)]
    user.run("push_scored(texts, 'me/data')")
    assert not server.faults
    assert "Written meanwhile\n" in readme(repo)
    assert_whole(repo)


@pytest.mark.slow
def test_a_commit_in_between_the_data_is_kept(server, user, repo):
    def edit(handler):
        repo.write("README.md", MINE.encode())

    server.faults += [("POST .*/commit/", edit)]
    user.run("push_scored(texts, 'me/data')")
    assert "# My data" in readme(repo)
    assert_whole(repo)


# --- branches, configurations, pull requests ----------------------------------------------------------------------


@pytest.mark.slow
def test_card_and_pictures_go_to_the_branch_of_the_data(user, repo):
    empty = repo.at("main")
    user.run("push_scored(scored, 'me/data', revision='v2')")
    assert repo.at("main") == empty
    assert_whole(repo, "v2")
    assert 'revision="v2"' in readme(repo, "v2")
    assert user.run("answer = same(load_dataset('me/data', split='train', revision='v2'), scored)")


@pytest.mark.slow
def test_a_pull_request_has_data_and_card(server, user, repo):
    empty = repo.at("main")
    url = user.run("answer = push_scored(scored, 'me/data', create_pr=True, commit_message='Scores')")
    assert url == f"{server.url}/datasets/me/data/discussions/1"
    assert repo.at("main") == empty and list(repo.branches) == ["main", "refs/pr/1"]
    assert_whole(repo, "refs/pr/1")
    again = user.run("answer = push_scored(texts, 'me/data', revision='refs/pr/1')")
    assert again.endswith(repo.at("refs/pr/1")) and list(repo.branches) == ["main", "refs/pr/1"]
    assert "revision" not in readme(repo, "refs/pr/1")


@pytest.mark.slow
def test_a_pull_request_of_the_card_alone(server, user, repo):
    user.run("scored.push_to_hub('me/data')")
    plain = repo.at("main")
    url = user.run("answer = push_scored(scored, 'me/data', create_pr=True)")
    assert url == f"{server.url}/datasets/me/data/discussions/1"
    assert repo.at("main") == plain
    assert_whole(repo, "refs/pr/1")


def test_a_pull_request_is_not_opened_twice(server, user, repo):
    server.faults += [("POST .*/commit/", lose)]
    error, _ = user.error("push_scored(texts, 'me/data', create_pr=True)")
    assert error.startswith("ConnectionError: The data was not pushed to 'me/data'")
    assert list(repo.branches) == ["main", "refs/pr/1"]


@pytest.mark.slow
def test_a_configuration_of_its_own(user, repo):
    user.run("push_scored(scored, 'me/data')")
    user.run("push_scored(texts, 'me/data', config_name='texts', task_categories=['text-generation'])")
    assert 'load_dataset("me/data", "texts", split="train")' in readme(repo)
    assert_whole(repo)
    assert user.run("answer = same(load_dataset('me/data', 'default', split='train'), scored)")
    assert user.run("answer = same(load_dataset('me/data', 'texts', split='train'), texts)")
    assert DatasetCard(readme(repo)).data["task_categories"] == ["image-classification", "text-generation"]


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_private_repository_is_made_and_read_with_the_token(server, user, gone):
    user.run("push_scored(texts, 'me/data', private=True)")
    repo = server.repos["datasets/me/data"]
    assert repo.private
    assert_whole(repo)
    assert user.run("answer = same(load_dataset('me/data', split='train', download_mode='force_redownload'), texts)")
    user.error("load_dataset('me/data', split='train', token=False, cache_dir='of a stranger')")


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "del os.environ['HF_TOKEN']; push_scored(texts, 'me/data')",
            "there is no token. Log in with `hf auth login`",
        ),
        ("push_scored(texts, 'me/data', token=False)", "there is no token. Log in with `hf auth login`"),
        ("push_scored(texts, 'me/data', token='hf_wrong')", "does not accept the token for it (status 401)"),
    ],
    ids=["none", "refused by the user", "wrong"],
)
def test_without_a_token_nothing_is_pushed(user, repo, private, code, said):
    repo.private = private
    try:
        error, cause = user.error(code)
    finally:
        user.run(f"os.environ['HF_TOKEN'] = {TOKEN!r}")
    assert error.startswith("PermissionError: The data was not pushed to 'me/data': ") and said in error
    assert "Error" in cause
    assert len(repo.commits) == 1


def test_without_a_token_a_short_name_is_refused(user, repo):
    error, _ = user.error("push_scored(texts, 'data', token='hf_wrong')")
    assert error.startswith("PermissionError: Nothing was pushed to 'data': ")


def test_a_token_that_may_only_read(server, user, repo):
    server.faults += [("POST .*/preupload/", refuse(403))]
    error, _ = user.error("push_scored(texts, 'me/data')")
    assert error.startswith("PermissionError: The data was not pushed to 'me/data': ") and "status 403" in error
    assert len(repo.commits) == 1


# --- a Hub that fails ---------------------------------------------------------------------------------------------

UPLOAD, COMMIT = "PUT /large/", "POST .*/commit/"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [drop, lose, refuse(500)], ids=["cut", "answer lost", "500"])
@pytest.mark.parametrize(("place", "before"), [(UPLOAD, 0), (UPLOAD, 1), (COMMIT, 0), (COMMIT, 1)])
def test_a_fault_that_passes_is_not_seen(server, user, repo, fault, place, before):
    server.faults += [(place, lambda handler: None)] * before + [(place, fault)]
    user.run("push_scored(texts, 'me/data')")
    assert not server.faults
    assert_whole(repo)
    assert len(repo.commits) == 3
    assert user.run("answer = same(load_dataset('me/data', split='train'), texts)")


def test_an_upload_that_fails_for_good_leaves_the_branch_alone(server, user, repo):
    server.faults += [(UPLOAD, refuse(501))] * 9
    error, cause = user.error("push_scored(texts, 'me/data')")
    assert error.startswith("ConnectionError: The data was not pushed to 'me/data': the Hub answered with status 501")
    assert error.endswith("Call push_scored again: what is uploaded already is not sent twice.")
    assert cause == "RuntimeError" and len(repo.commits) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "said"), [(drop, "cannot be reached"), (refuse(503), "status 503")])
def test_a_commit_of_the_data_that_fails_for_good(server, user, repo, fault, said):
    user.run("time.sleep, slept = (lambda wait: None), time.sleep")
    server.faults += [(COMMIT, fault)] * 4
    error, _ = user.error("push_scored(texts, 'me/data')")
    assert error.startswith("ConnectionError: The data was not pushed to 'me/data': the Hub ") and said in error
    assert len(repo.commits) == 1 and not server.faults
    server.log.clear()
    user.run("push_scored(texts, 'me/data'); time.sleep = slept")
    assert_whole(repo)
    assert not [line for line in server.log if line.startswith("PUT")][3:]  # pictures at most, no data


@pytest.mark.slow
@pytest.mark.parametrize("place", [UPLOAD, COMMIT])
def test_a_card_that_fails_for_good_is_as_it_was(server, user, repo, place):
    user.run("push_scored(texts, 'me/data')")
    own = readme(repo).partition("---\n\n")[2]
    pictures = {path: repo.files()[path] for path in TWO_PICTURES}
    user.run("time.sleep, slept = (lambda wait: None), time.sleep")
    server.faults += [(place, lambda handler: None), *[(place, refuse(501))] * 8]
    error, cause = user.error("push_scored(retexts, 'me/data')")
    assert error.startswith(
        "ConnectionError: The data is pushed to 'me/data', but the card is as it was: the Hub answered with status 501"
    )
    assert error.endswith("Call push_scored again: only the card is sent then.") and cause != "NoneType"
    assert readme(repo).endswith(own) and {path: repo.files()[path] for path in TWO_PICTURES} == pictures
    back = "load_dataset('me/data', split='train')"
    assert user.run(f"answer = {back}['difficulty'][:] == retexts['difficulty'][:]")
    server.faults.clear()
    user.run("push_scored(retexts, 'me/data'); time.sleep = slept")
    assert user.run(f"answer = same({back}, retexts)")
    assert_whole(repo)
    assert "| Prototypes | 3 |" in readme(repo)


def test_a_repository_that_is_not_shown(server, user, repo):
    server.faults += [("POST .*/preupload/", hide)]
    error, cause = user.error("push_scored(texts, 'me/data')")
    assert error.startswith("FileNotFoundError: The data was not pushed to 'me/data': the Hub does not find it")
    assert cause == "RepositoryNotFoundError"


# --- before anything is sent --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("push_scored(digits, 'me/data')", "ValueError: Column 'cluster' is not in the dataset"),
        ("push_scored(scored.remove_columns('distance'), 'me/data')", "ValueError: Column 'distance' is not in"),
        ("push_scored(digits, 'me/data')", "Create it with `add_difficulty(dataset, model_id)`."),
        ("push_scored(scored.to_iterable_dataset(), 'me/data')", "TypeError: Expected a Dataset, got a streaming"),
        ("push_scored(scored.select([]), 'me/data')", "ValueError: The dataset has no rows."),
        ("push_scored(scored, 'buckets/me/data')", "HFValidationError: Repo id must be"),
    ],
)
def test_what_is_no_scored_dataset_is_refused_before_anything_is_sent(server, user, repo, code, said):
    error, _ = user.error(code)
    assert said in error
    assert not [line for line in server.log if not line.startswith("GET /api/agent")]


@pytest.mark.slow
def test_splits_that_are_pushed_one_after_the_other_stay_both(user, repo):
    user.run(
        """
from hf_curriculum import DifficultyScorer
digits.select(range(80)).to_parquet("train.parquet")
digits.select(range(80, 120)).to_parquet("test.parquet")
files, scorer = {"train": "train.parquet", "test": "test.parquet"}, DifficultyScorer(2)
for name in files:
    part = load_dataset("parquet", data_files=files, split=name)
    push_scored(add_difficulty(part, "builtin/hog", scorer=scorer), "me/data")
otherwise = add_difficulty(part, "builtin/hog", n_clusters=3)
try:
    push_scored(otherwise, "me/data")
except ValueError as error:
    told = str(error)
"""
    )
    rows = user.run("answer = {name: len(part) for name, part in load_dataset('me/data').items()}")
    assert rows == {"train": 80, "test": 40}
    assert "'me/data' has splits that were scored otherwise" in user.run("answer = told")
