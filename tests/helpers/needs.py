"""Packages that `.[test]` does not bring: trainers and tools that some tests run ours beside."""

import pytest


def needs(module):
    """The module; where it is not installed, the test or the file that asks for it is skipped and says so."""
    return pytest.importorskip(module, reason=f"{module} is not installed", exc_type=ModuleNotFoundError)
