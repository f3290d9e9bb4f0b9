"""What a dataset is to us: its columns found, checked, read and appended, its splits, its provenance, its media."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
