"""What the card recommends: the line of docs/evidence.md that fits what was scored."""

from collections.abc import Mapping
from typing import Any

from datasets import Dataset

from hf_curriculum._optional import HOME
from hf_curriculum.data import modality_of
from hf_curriculum.viewing import shown_column

_LABELS = """\
Where labels may be wrong, draw easy rows first: with 40 % of them wrong, one prototype a class (`n_clusters=1`) and
`CurriculumConfig(initial_fraction=0.15)` brought small classifiers 5 to 18 points of accuracy above uniform sampling.
With correct labels they brought nothing beyond chance."""
_MARGIN = """\
Where many labels are wrong, train on the rows whose `suggested_label` is their own, or let the pool stay with the
easier rows: `CurriculumConfig(initial_fraction=0.3, final_fraction=0.3, warmup_steps=1.0)`. With 40 % wrong labels
each brought small classifiers of news and CIFAR-10 1 to 29 points of accuracy above uniform sampling. With correct
labels they gained nothing and cost up to 31 points, on spoken digits: look at the hardest rows first."""
_TEXT = """\
For a masked language model from scratch, `CurriculumConfig(initial_fraction=0.15, warmup_steps=0.2)` ended with a
held-out loss 0.12 to 0.19 lower than uniform sampling, in small trainings on news that were scored with MiniLM; most
of it came from the growing pool alone (`order="random"`)."""
_MEDIA = """\
In small trainings, masked autoencoders to 128 epochs and classifiers with correct labels, a curriculum brought nothing
beyond chance over uniform sampling: compare the two before you rely on one. The paper's gains are for 200 to 800
epochs of ImageNet-1K."""
_OTHER = """\
No training on such data has been measured: compare a curriculum with uniform sampling before you rely on it."""


def advice(dataset: Dataset, record: Mapping[str, Any]) -> str:
    """What to set for a training on a dataset, as far as it was measured.

    Args:
        dataset: Scored.
        record: Of its scores.

    Returns:
        A paragraph that ends with a link to the figures.
    """
    column = shown_column(dataset, None)
    modality = None if column is None else modality_of(dataset.features[column])
    if record.get("label_column"):
        said = _MARGIN if record.get("measure") == "margin" else _LABELS
    elif modality == "text":
        said = _TEXT
    else:
        said = _MEDIA if modality in ("image", "audio") else _OTHER
    return f"{said}\n[What was measured, and what to set]({HOME}/blob/main/docs/evidence.md)\n"
