"""The API of the paper's reference code, over this library: its users change one import.

Names, arguments, defaults and returned types are those of ``curriculum_learning.py`` in JonnesLin/Datawarmup, and with
the same features and seed so are the numbers, but for what docs/reference_api.md lists.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
