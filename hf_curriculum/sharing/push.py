"""push_scored: a scored dataset, its card and its pictures to the Hub."""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not marked so

from hf_curriculum._optional import require_extra
from hf_curriculum.data import (
    CLUSTER,
    DIFFICULTY,
    DISTANCE,
    fit_split,
    require_column,
    require_name,
    splits_of,
)
from hf_curriculum.sharing.card_examples import first_draws, text_column
from hf_curriculum.sharing.card_merge import guess_tasks, merge_card
from hf_curriculum.sharing.card_section import card_section
from hf_curriculum.sharing.hub_errors import explained, repeated
from hf_curriculum.sharing.sorted_upload import sorted_upload
from hf_curriculum.training import CurriculumConfig
from hf_curriculum.viewing import draw_extremes, draw_rows, plot_difficulty, plot_schedule, shown_column

logger = logging.getLogger(__name__)
_PICTURES = {name: f"curriculum/{name}.png" for name in ("schedule", "difficulty", "extremes", "first")}
_README = "README.md"


def push_scored(
    dataset: Dataset | DatasetDict,
    repo_id: str,
    *,
    config_name: str = "default",
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    task_categories: Sequence[str] = (),
    source: str | None = None,
    sort: bool = False,
    **options: Any,
) -> str:
    """Push a scored dataset to the Hub with a card that says what was scored and how.

    The data goes first, as ``dataset.push_to_hub`` sends it; then, in one commit, pictures and our section of the
    card (docs/sharing.md). What the owner of the card wrote stays; pushing again replaces our section.

    Args:
        dataset: From :func:`add_difficulty`. The column of embeddings may be missing. Clusters and pictures are those
            of the ``"train"`` split, or else of the first.
        repo_id: Dataset repository, such as ``"me/scored"``; made if it is missing.
        config_name: Configuration (subset) of the repository to write. Default ``"default"``.
        private: Make a new repository private. Default ``None``, as the account has it.
        token: Default ``None``, the one of ``hf auth login``.
        revision: Branch, made if it is missing. Default ``None``, ``main``.
        create_pr: Open a pull request instead of a commit to the branch. Default ``False``.
        task_categories: Tasks of the Hub for the card's metadata. Default: ``"image-classification"``,
            ``"audio-classification"``, ``"video-classification"`` or ``"text-classification"`` for a dataset with one
            column of classes beside one input, if the card has no tasks yet.
        source: Hub id of the dataset that was scored, such as ``"zh-plus/tiny-imagenet"``, for a link in the card and
            its metadata. Default none.
        sort: Push files as :func:`save_sorted` writes them, of which a curriculum on a stream reads only what it
            draws; the order of the rows changes. Default ``False``.
        **options: Further ones of ``dataset.push_to_hub``, such as ``split``, ``commit_message`` or
            ``max_shard_size``.

    Returns:
        The URL of the commit of the card, or of the pull request.

    Raises:
        TypeError: For a streaming or any other object, or an option that decides what files hold beside ``sort``.
        ValueError: If ``repo_id`` or ``source`` is not the name of a repository, or a column of scores is missing or
            damaged. Nothing is uploaded then.
        PermissionError: If there is no token, or the Hub does not accept it for this repository.
        FileNotFoundError: If the Hub does not find the repository, or does not show it with this token.
        ConnectionError: If the Hub cannot be reached, or fails. A message that says that the data is pushed and
            its card is not means what it says: the card is as it was.
    """
    require_name(repo_id, "repo_id")
    validate_repo_id(repo_id)
    if source is not None:
        require_name(source, "source")
        validate_repo_id(source)
    if sort and (given := options.keys() & {"max_shard_size", "num_shards", "embed_external_files"}):
        raise TypeError(f"sort=True decides what is in a file: leave {sorted(given)} out.")
    splits = splits_of(dataset)
    if isinstance(dataset, Dataset):
        splits = {options.get("split") or str(dataset.split or "train"): dataset}
    for split in splits.values():
        for column in (CLUSTER, DISTANCE, DIFFICULTY):
            require_column(split, column, made_by="add_difficulty(dataset, model_id)")
    api, shown = HfApi(token=token), splits[fit_split(splits)]
    with explained(f"Nothing was pushed to {repo_id!r}", token):
        repo_id = repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"
    # All that can fail here comes before the first upload.
    pictures = _pictures(shown)
    stays = revision if revision and not revision.startswith("refs/") else None  # a pull request is merged one day
    section = card_section(splits, repo_id, config_name=config_name, revision=stays, pictures=pictures, source=source)

    pushed_as, more = sorted_upload(dataset) if sort else (dataset, {})
    push = partial(
        pushed_as.push_to_hub,
        repo_id,
        config_name,
        private=private,
        token=token,
        revision=revision,
        create_pr=create_pr,
        **options,
        **more,
    )
    edit = partial(
        merge_card,
        section=section,
        features=shown.features,
        config_name=config_name,
        tasks=task_categories,
        guessed=guess_tasks(shown),
        title=repo_id.partition("/")[2],
        source=source,
    )
    again = "Call push_scored again: what is uploaded already is not sent twice."
    with explained(f"The data was not pushed to {repo_id!r}", token, again):
        pushed = _of_one_kind(partial(repeated, push, create_pr), repo_id)
    branch = pushed.pr_revision or revision
    where = f" with revision={branch!r}" if pushed.pr_revision else ""
    again = f"Call push_scored again{where}: only the card is sent then."
    with explained(f"The data is pushed to {repo_id!r}, but the card is as it was", token, again):
        opens = create_pr and pushed.pr_revision is None  # data that is there already opens no pull request
        card = repeated(partial(_commit_card, api, repo_id, branch, edit, pictures, opens), opens)
    return pushed.pr_url or card.pr_url or card.commit_url


def _of_one_kind(push: Callable[[], CommitInfo], repo_id: str) -> CommitInfo:
    """Push the data, or say what to do if the repository has splits with other features: our records are a part."""
    try:
        return push()
    except ValueError as error:
        if "features of the existing splits" not in str(error):
            raise
        raise ValueError(
            f"{repo_id!r} has splits that were scored otherwise, or have other columns: the data was not pushed. "
            "Score the splits together, as a DatasetDict, or this one by the scorer of the others (scorer=...); or "
            "push it under another config_name."
        ) from error


def _commit_card(
    api: HfApi,
    repo_id: str,
    revision: str | None,
    edit: Callable[[str], str],
    pictures: Mapping[str, bytes],
    create_pr: bool,
) -> CommitInfo:
    """One commit of the card and its pictures, on the commit that the card was read from or not at all."""
    info = api.dataset_info(repo_id, revision=revision)
    readme = Path(api.hf_hub_download(repo_id, _README, repo_type="dataset", revision=info.sha)).read_bytes()
    files = {_README: edit(readme.decode()).encode(), **pictures}
    old = {file.rfilename for file in info.siblings or []} & set(_PICTURES.values()) - files.keys()
    return api.create_commit(
        repo_id,
        [
            *(CommitOperationAdd(path, content) for path, content in files.items()),
            *(CommitOperationDelete(path) for path in sorted(old)),
        ],
        commit_message="Describe the difficulties",
        repo_type="dataset",
        revision=revision,
        create_pr=create_pr,
        parent_commit=info.sha,
    )


def _pictures(dataset: Dataset) -> dict[str, bytes]:
    """PNG files by their paths in the repository; none without matplotlib."""
    try:
        new_figure = require_extra("matplotlib.figure", extra="plot", purpose="The card's pictures").Figure
    except ModuleNotFoundError as error:
        logger.warning("The card will have no pictures. %s", error)
        return {}
    curriculum = CurriculumConfig()
    figures = {name: new_figure(figsize=(5, 3.2), layout="constrained") for name in ("schedule", "difficulty")}
    axes = plot_schedule(curriculum, 100, figures["schedule"].subplots())
    axes.set_xlabel("share of the training, %")
    plot_difficulty(dataset, config=curriculum, ax=figures["difficulty"].subplots())
    if shown_column(dataset, None) is not None and text_column(dataset) is None:
        figures["extremes"] = new_figure(figsize=(11, 5), layout="constrained")
        draw_extremes(figures["extremes"], dataset)
        figures["first"] = new_figure(figsize=(11, 2.2), layout="constrained")
        draw_rows(figures["first"], dataset, first_draws(dataset)[1])
    return {_PICTURES[name]: _png(figure) for name, figure in figures.items()}


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return file.getvalue()
