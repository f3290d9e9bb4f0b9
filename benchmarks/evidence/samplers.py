"""The arms of an experiment. They differ in the rows that a step draws, and in nothing else.

``random_pool`` is the control of Wu et al., "When Do Curricula Work?", ICLR 2021: the pool grows as in a curriculum,
but which rows are in it is random. There, a pool is the first g(t) rows of an order, and the random curriculum
permutes the order. Here a pool is soft, a softmax over difficulties at a temperature; so the control permutes the
difficulties over the rows. That keeps all of the pool but its members: the difficulties as a multiset, hence the
temperature, the effective fraction and the sorted probabilities of every step. As the draws depend on (seed, step) and
the ranks alone, the control draws the very ranks that easy-first draws: its rows are those of easy-first under one
fixed relabelling, with the same repeats. After the warm-up all three walk the same permutations.

What it does not keep: the shares of clusters and classes in the pool (easy-first may favour a class, the random pool
cannot), so the difference between the two is the effect of *which* rows come first, by cluster and within it. And it
mirrors easy-first, not hard-first, whose probabilities fall off along the other tail of the difficulties: these two
share the effective fraction, not the temperature.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hf_curriculum import CurriculumConfig, CurriculumSampler
from hf_curriculum.training.config import UNIFORM_FRACTION

ARMS = ("uniform", "random_pool", "easy_first", "hard_first")


def make_sampler(
    arm: str,
    difficulty: NDArray[np.floating],
    curriculum: dict[str, Any],
    *,
    batch_size: int,
    steps: int,
    seed: int,
) -> CurriculumSampler:
    """The sampler of an arm; of the uniform one, the difficulties count for their number only."""
    if arm == "uniform":
        # Uniform draws in the first step, then the random permutations that a plain Trainer walks.
        config = CurriculumConfig(initial_fraction=UNIFORM_FRACTION, warmup_steps=1)
    else:
        config = CurriculumConfig(**curriculum, order="hard_first" if arm == "hard_first" else "easy_first")
    if arm == "random_pool":
        difficulty = np.random.default_rng([seed, 1]).permutation(difficulty)
    return CurriculumSampler(difficulty, config, total_batch_size=batch_size, total_steps=steps, seed=seed)
