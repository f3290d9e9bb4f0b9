"""The command line: ``hf-curriculum score``, ``report``, ``push`` and ``demo``."""

from hf_curriculum.cli.app import app as app
