"""A scored dataset on the Hub: the push, its card, and what can go wrong."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
