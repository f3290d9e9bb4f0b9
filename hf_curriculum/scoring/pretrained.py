"""What a scorer shares with the models of the Hub: save, load and push."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import ModelCard, ModelHubMixin

from hf_curriculum.data import require_name
from hf_curriculum.scoring.model_card import card_text
from hf_curriculum.scoring.scorer_config import CONFIG
from hf_curriculum.scoring.scorer_files import StoredScorer, config_of, locate, read, write

Self = TypeVar("Self", bound="Shareable")


class Shareable(ModelHubMixin, ABC):
    """Keeps a fitted scorer in the files of :mod:`hf_curriculum.scoring.scorer_files`."""

    # Where it is not None, the mixin leaves the arguments of __init__ alone, of which it would copy a clusterer.
    _hub_mixin_config = {}

    @abstractmethod
    def _stored(self) -> StoredScorer:
        """All that makes this scorer; a ``ValueError`` if it is not fitted."""

    @classmethod
    @abstractmethod
    def _restored(cls: type[Self], stored: StoredScorer) -> Self:
        """The scorer that this makes; a ``ValueError`` if its options contradict each other."""

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Save the fitted scorer to a folder: ``model.safetensors``, ``config.json`` and ``README.md``, a model card.

        A scorer that is there is replaced. A ``clusterer`` is not stored, only its ``repr``, for the record.

        Args:
            save_directory: The folder; made if it is missing.
            **options: Those of ``huggingface_hub.ModelHubMixin.save_pretrained``, such as ``push_to_hub``.

        Returns:
            The URL of the commit if the scorer was pushed, else ``None``.

        Raises:
            ValueError: If the scorer is not fitted, its labels are not strings, integers or booleans, or
                ``trained_on`` is not JSON.
        """
        config_of(self._stored())  # before anything there is touched
        return super().save_pretrained(save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the fitted scorer to a model repository of the Hub, which is made if it is missing.

        Args:
            repo_id: Such as ``"me/scorer"``.
            **options: Those of ``huggingface_hub.ModelHubMixin.push_to_hub``, such as ``private``, ``token``,
                ``branch`` or ``commit_message``.

        Returns:
            The URL of the commit.

        Raises:
            ValueError: As for :meth:`save_pretrained`; nothing is uploaded then.
        """
        require_name(repo_id, "repo_id")
        config_of(self._stored())  # before a repository is made
        if "/" in repo_id:
            options["model_card_kwargs"] = {"repo_id": repo_id, **(options.get("model_card_kwargs") or {})}
        return super().push_to_hub(repo_id, **options)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # options of __init__ cannot be changed: the centroids depend on them
        cls: type[Self],
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> Self:
        """Load a fitted scorer; its scores are those of the scorer that was saved, bit for bit.

        Nothing of what is loaded can run code, and all of it is checked.

        Args:
            pretrained_model_name_or_path: A folder, or the id of a model repository on the Hub.
            revision: Branch, tag or commit of the repository. Default ``None``, the newest commit of ``main``.
            token: Token for a private repository. Default ``None``, the one of ``hf auth login``.
            cache_dir: Where downloads go. Default ``None``, the cache of ``huggingface_hub``.
            force_download: Download what is in the cache again. Default ``False``.
            local_files_only: Take the cache as it is and ask no server. Default ``False``.

        Returns:
            The scorer, with ``clusterer=None``.

        Raises:
            FileNotFoundError: If there is no such folder or repository, or it has no scorer.
            ValueError: If a file is damaged, or of a format that this version does not read.
        """
        folder = locate(
            pretrained_model_name_or_path,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        stored = read(folder)
        try:
            return cls._restored(stored)
        except ValueError as error:
            raise ValueError(f"{folder / CONFIG}: {error}") from error

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The model card that is saved with the scorer; ``repo_id`` is the repository that it names.

        Args:
            *args: What the mixin passes; not looked at.
            **kwargs: Of these ``repo_id`` counts; without it a placeholder stands.

        Returns:
            The card.

        Raises:
            ValueError: If the scorer is not fitted.
        """
        return ModelCard(card_text(config_of(self._stored()), kwargs.get("repo_id")))

    def _save_pretrained(self, save_directory: Path) -> None:
        write(save_directory, self._stored())
        # The mixin writes a card only where there is none; an old one would speak of another scorer.
        (save_directory / "README.md").unlink(missing_ok=True)
