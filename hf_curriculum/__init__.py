"""Curriculum learning on Hugging Face datasets: score once, then train from prototypes to the whole dataset."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_curriculum.columns import provenance as provenance
    from hf_curriculum.config import CurriculumConfig as CurriculumConfig
    from hf_curriculum.embeddings import add_embeddings as add_embeddings
    from hf_curriculum.hub import push_scored as push_scored
    from hf_curriculum.page import report as report
    from hf_curriculum.plots import plot_difficulty as plot_difficulty
    from hf_curriculum.plots import plot_schedule as plot_schedule
    from hf_curriculum.plots import show_extremes as show_extremes
    from hf_curriculum.sampler import CurriculumSampler as CurriculumSampler
    from hf_curriculum.schedule import curriculum_weights as curriculum_weights
    from hf_curriculum.schedule import effective_fraction as effective_fraction
    from hf_curriculum.schedule import solve_temperature as solve_temperature
    from hf_curriculum.scorer import DifficultyScorer as DifficultyScorer
    from hf_curriculum.scorer import Scores as Scores
    from hf_curriculum.scoring import add_difficulty as add_difficulty
    from hf_curriculum.trainer import CurriculumMixin as CurriculumMixin
    from hf_curriculum.trainer import CurriculumSeq2SeqTrainer as CurriculumSeq2SeqTrainer
    from hf_curriculum.trainer import CurriculumTrainer as CurriculumTrainer

__version__ = "0.1.0"

_EXPORTS = {
    "CurriculumConfig": "config",
    "CurriculumMixin": "trainer",
    "CurriculumSampler": "sampler",
    "CurriculumSeq2SeqTrainer": "trainer",
    "CurriculumTrainer": "trainer",
    "DifficultyScorer": "scorer",
    "Scores": "scorer",
    "add_difficulty": "scoring",
    "add_embeddings": "embeddings",
    "curriculum_weights": "schedule",
    "effective_fraction": "schedule",
    "plot_difficulty": "plots",
    "plot_schedule": "plots",
    "provenance": "columns",
    "push_scored": "hub",
    "report": "page",
    "show_extremes": "plots",
    "solve_temperature": "schedule",
}
__all__ = sorted(_EXPORTS)  # noqa: PLE0605 - one place for each name


def __getattr__(name: str) -> Any:  # PEP 562: torch and transformers load on first use, not on import
    if name not in _EXPORTS:
        raise AttributeError(f"module 'hf_curriculum' has no attribute {name!r}")
    return getattr(import_module(f"hf_curriculum.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
