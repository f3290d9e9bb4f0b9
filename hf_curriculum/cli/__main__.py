"""``python -m hf_curriculum.cli``, which ``accelerate launch -m`` takes."""

from hf_curriculum.cli import app

app()
