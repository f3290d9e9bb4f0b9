"""From vectors to difficulties: clusters, prototypes, distances, the scorer and :func:`add_difficulty`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
