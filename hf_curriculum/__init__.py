"""Curriculum learning on Hugging Face datasets: score once, then train from prototypes to the whole dataset."""

import lazy_loader

from hf_curriculum._version import __version__ as __version__

# The names stand in __init__.pyi, for the interpreter and for type checkers; torch and transformers load on first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
