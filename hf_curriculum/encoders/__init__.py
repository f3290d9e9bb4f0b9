"""From a ``model_id`` to vectors: what reads a row, prepares a batch and encodes it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
