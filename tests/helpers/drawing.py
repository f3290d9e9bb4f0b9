"""What a sampler draws, and whether two draws know of each other."""

import numpy as np
from scipy import stats


def rows_of(sampler, steps):
    """Rows of these steps, one step after the other."""
    return np.concatenate([sampler.indices(step) for step in steps])


def independence(left, right):
    """P-value of the chi-square test that two classes of the same draws are independent."""
    table = np.zeros((left.max() + 1, right.max() + 1), np.int64)
    np.add.at(table, (left, right), 1)
    return stats.chi2_contingency(table, correction=False).pvalue
