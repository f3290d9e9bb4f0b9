"""Sphinx: the pages of this folder, and one of every public name, made from the docstrings."""

import hf_curriculum

project = "hf_curriculum"
version = release = hf_curriculum.__version__
copyright = "the hf_curriculum authors"  # noqa: A001
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "hf_curriculum"
exclude_patterns = ["_build"]
nitpicky = True  # a name in a docstring that leads nowhere is an error, but for other libraries and internals
nitpick_ignore_regex = [
    (r"py:.*", r"(?!hf_curriculum\.).*"),
    (r"py:.*", r"hf_curriculum\.(?!curriculum_learning)\w+\..*"),
]

myst_heading_anchors = 3
autodoc_typehints = "none"  # ArrayLike alone is ten lines; the docstrings say shapes and types
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
