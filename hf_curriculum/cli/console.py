"""How the command line answers: text for people or one JSON object for scripts, errors in a line, exit codes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

FAILED = 1  # what was asked for could not be done
BAD_INPUT = 2  # as for options that typer refuses
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
"""Exit codes beside 0: the work failed; the input cannot be right; Ctrl-C, as shells have it."""


@contextmanager
def answering(as_json: bool) -> Iterator[None]:
    """Run a command: what goes wrong in the block becomes one line, or one JSON object, and an exit code."""
    try:
        _tame_progress_bars()
        yield
    except KeyboardInterrupt:
        _fail("Interrupted. What is finished is kept: the same command goes on after it.", INTERRUPTED, as_json)
    except (ValueError, TypeError, ModuleNotFoundError) as error:
        _fail(str(error), BAD_INPUT, as_json)
    except (OSError, RuntimeError) as error:
        _fail(str(error), FAILED, as_json)


def answer(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print what a command has done.

    Args:
        result: What it has done, for programs; JSON.
        text: The same, for people.
        as_json: Print ``result``, else ``text``.
    """
    typer.echo(json.dumps(result) if as_json else text)


def _fail(message: str, code: int, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": message}))
    else:
        typer.secho(f"Error: {message}", fg="red", err=True)
    sys.exit(code)


def _tame_progress_bars() -> None:
    """No bars in a pipe or a file, where they are hundreds of lines, nor from all processes of a job at once."""
    import datasets
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    from transformers.utils import logging

    from hf_curriculum.processes import this_process

    if sys.stderr.isatty() and this_process().is_main_process:
        return
    datasets.disable_progress_bars()
    disable_progress_bars()
    logging.disable_progress_bar()
