"""From rows to a column of vectors: the callable that ``Dataset.map`` takes, and :func:`add_embeddings`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
