"""A scored dataset as a person sees it: figures, a map of the embeddings, the report."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
