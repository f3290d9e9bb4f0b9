r"""What does a curriculum draw while its pool is smallest? No training but that of a teacher.

    python -m benchmarks.evidence.drawn benchmarks/evidence/experiments/why.json --output results/why \
        [--data FOLDER] [--minilm FOLDER]

A row for each variant and each of its orders, at the first step:

* **classes**, **clusters**: how many are drawn from, as the exponential of the entropy of their shares: with equal
  shares the number there is, with one alone 1.
* **spread**: variance of the embeddings that are drawn, as a share of that of all: how diverse a batch is.
* **wrong labels**: their share in what is drawn.
* **purity**: share of what is drawn that has the most common true label of its cluster. The rest are a cluster's
  outliers: with uniform draws this tells of the clusters, with easy ones of their prototypes.
* **loss**: of a model after the short uniform training (``teacher_steps``), in batches that are drawn so, minus its
  loss in uniform ones under the same masks: whether what is called easy is easy for the model.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from datasets import disable_progress_bars
from numpy.typing import NDArray
from transformers import PreTrainedModel

from benchmarks.evidence.config import Experiment
from benchmarks.evidence.data import Rows, parts
from benchmarks.evidence.difficulties import Place, embeddings, scored, teacher
from benchmarks.evidence.run import add_place, place_of
from benchmarks.evidence.summary import Estimate, estimate
from benchmarks.evidence.tasks import TASKS
from benchmarks.report import print_table
from hf_curriculum import CurriculumConfig, curriculum_weights

_BATCH, _BATCHES = 100, 40
_HEADER = ["rows", "curriculum", "order", "classes", "clusters", "spread", "wrong labels", "purity", "loss"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_place(parser)
    args = parser.parse_args()
    disable_progress_bars()
    experiment = Experiment.read(args.experiment)
    args.output.mkdir(parents=True, exist_ok=True)
    print_table(_HEADER, list(table(place_of(args), experiment)))


def table(place: Place, experiment: Experiment) -> Iterator[list[Any]]:
    """The cells, row by row."""
    found = parts(experiment, place.source, place.device)
    true = parts(replace(experiment, label_noise=0.0), place.source, place.device).pool.labels
    for rows, steps in experiment.budgets:
        trained_on = found.pool.take(slice(rows))
        labels, right = trained_on.labels.cpu().numpy(), true[:rows].cpu().numpy()
        model = teacher(experiment, "bootstrap", trained_on)
        for variant in experiment.variants:
            recipe = experiment.recipe(variant)
            scores = scored(place, experiment, recipe, rows)
            vectors = embeddings(place, experiment, recipe.features, rows)
            uniform = np.full(rows, 1 / rows)
            for order in ["uniform", *(arm for arm in recipe.arms if arm != "random_pool")]:
                weights, extra = uniform, None
                if order != "uniform":
                    config = CurriculumConfig(**recipe.opening(), order=order)
                    weights = curriculum_weights(scores.difficulty, 0, config, total_steps=steps)
                    extra = str(extra_loss(experiment, model, trained_on, weights))
                yield [
                    rows,
                    variant,
                    order,
                    effective_number(labels, weights),
                    effective_number(scores.cluster, weights),
                    spread(vectors, weights) / spread(vectors, uniform),
                    float(weights @ (labels != right)) if experiment.label_noise else None,
                    purity(right, scores.cluster, weights),
                    extra,
                ]


def effective_number(groups: NDArray[np.integer], weights: NDArray[np.float64]) -> float:
    """Exponential of the entropy of the groups' shares."""
    shares = np.bincount(groups, weights)
    shares = shares[shares > 0]
    return float(np.exp(-shares @ np.log(shares)))


def purity(labels: NDArray[np.integer], cluster: NDArray[np.integer], weights: NDArray[np.float64]) -> float:
    """Share of the rows, under weights that sum to 1, that have the most common label of their cluster."""
    counts = np.zeros((cluster.max() + 1, labels.max() + 1))
    np.add.at(counts, (cluster, labels), 1)
    return float(weights @ (labels == counts.argmax(axis=1)[cluster]))


def spread(vectors: NDArray[np.floating], weights: NDArray[np.float64]) -> float:
    """Variance of standardised vectors under weights that sum to 1, summed over the dimensions."""
    vectors = (vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-6)
    return float(weights @ (vectors**2).sum(axis=1) - ((weights @ vectors) ** 2).sum())


@torch.no_grad()
def extra_loss(experiment: Experiment, model: PreTrainedModel, rows: Rows, weights: NDArray[np.float64]) -> Estimate:
    """Loss in batches drawn by the weights minus that in uniform ones, and its standard error over pairs."""
    task, n, rng = TASKS[experiment.task], len(weights), np.random.default_rng(0)
    differences = []
    for number in range(_BATCHES):
        drawn, others = (
            rows.take(torch.from_numpy(rng.choice(n, _BATCH, p=p)).to(rows.labels.device))
            for p in (weights, np.full(n, 1 / n))
        )
        here, there = (
            task.loss(model, batch.inputs, batch.labels, np.random.default_rng([1, number])).item()
            for batch in (drawn, others)
        )
        differences.append(here - there)
    return estimate(differences)


if __name__ == "__main__":
    main()
