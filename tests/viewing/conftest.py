import pytest

from hf_curriculum import add_difficulty


@pytest.fixture(scope="session")
def scored(digits):
    """The digits in the best of 4 to 7 clusters."""
    return add_difficulty(digits, "builtin/hog", cluster_range=(4, 7))
