"""How the command line answers: text for people or one JSON object for scripts, errors in a line, exit codes."""

import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

FAILED = 1  # what was asked for could not be done
BAD_INPUT = 2  # as for options that typer refuses
INTERRUPTED = 130  # 128 and the number of SIGINT, as shells have it
"""Exit codes beside 0: the work failed; the input cannot be right; Ctrl-C, as shells have it."""


class Application(typer.Typer):
    """Of which an error of the system, such as a full disk behind ``--help``, is a line, too."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().__call__(*args, **kwargs)
        except OSError as error:
            _fail(_sentence(error), FAILED, as_json=False)


@contextmanager
def answering(as_json: bool) -> Iterator[None]:
    """Run a command: what goes wrong in the block becomes one line, or one JSON object, and an exit code."""
    try:
        _tame_libraries()
        yield
    except KeyboardInterrupt:
        _fail("Interrupted. What is finished is kept: the same command goes on after it.", INTERRUPTED, as_json)
    except (ValueError, TypeError, ModuleNotFoundError) as error:
        _fail(in_own_words(str(error)), BAD_INPUT, as_json)
    except (OSError, RuntimeError) as error:
        _fail(in_own_words(_sentence(error)), FAILED, as_json)


def listen() -> Callable[[], None]:
    """Show what the library logs: warnings, and where somebody waits at a terminal also what it is at.

    Returns:
        What ends it.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_InOwnWords())
    logger = logging.getLogger("hf_curriculum")  # other libraries have handlers of their own
    logger.addHandler(handler)
    level = logger.level
    if sys.stderr.isatty():
        logger.setLevel(logging.INFO)

    def end() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)

    return end


def option(name: str) -> str:
    """The option of the command line that sets an argument of the library.

    Example:
        >>> option("input_column")
        '--column'
    """
    return _OPTIONS.get(name, "--" + name.replace("_", "-"))


def in_own_words(message: str) -> str:
    """A message of the library with the names of the command line.

    Example:
        >>> in_own_words("n_clusters must be at least 1, got 0; on_error='null' leaves out rows.")
        '--clusters must be at least 1, got 0; --on-error null leaves out rows.'
    """
    for theirs, ours in _SAID.items():
        message = re.sub(theirs, ours, message)
    return _ARGUMENT.sub(lambda it: " ".join(filter(None, (option(it[1] or it[2]), it[3] or it[4]))), message)


def answer(result: dict[str, Any], text: str, as_json: bool) -> None:
    """Print what a command has done.

    Args:
        result: What it has done, for programs; JSON.
        text: The same, for people.
        as_json: Print ``result``, else ``text``.
    """
    typer.echo(json.dumps(result) if as_json else text)


_SAID = {
    r"add_difficulty\(dataset, model_id\)": "hf-curriculum score DATA --model MODEL",
    "Call push_scored again": "Run the command again",
    "pass token=": "set HF_TOKEN",
    r"another name with dataset\.\w+\(.*\), or drop it with dataset\.\w+\(.*\)": "another name, or drop it",
    r" or modality=\.\.\.| Use `repo_type` argument if needed\.| Did an earlier `dataset\.filter\(\.\.\.\)` .*\?": "",
}
_OPTIONS = {"input_column": "--column", "n_clusters": "--clusters", "model_id": "--model"}
# Words that sentences have, too.
_WORDS = ("normalize", "pooling", "layer", "measure", "duplicates", "repeats", "revision", "seed", "scorer")
_NAMES = (
    *_OPTIONS,
    "batch_size",
    "cache_dir",
    "label_column",
    "long_inputs",
    "num_workers",
    "on_error",
    "trust_remote_code",
)
# What stands in quotes is the user's.
_ARGUMENT = re.compile(
    rf"""(?<![\w.'"-])(?:({"|".join(_NAMES)})(?!\w|['"])|({"|".join(_WORDS)})(?==|[ ]must[ ]be))"""
    r"""(?:=(?:['"]([^'"]*)['"]|(\d+)|True|\.{3}))?"""
)


class _InOwnWords(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = in_own_words(record.getMessage())
        return message if record.levelno <= logging.INFO else f"{record.levelname.capitalize()}: {message}"


def _sentence(error: Exception) -> str:
    """An error of the system without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.strerror}: {error.filename}." if error.filename else f"{error.strerror}."


def _fail(message: str, code: int, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"error": message}))
    else:
        typer.secho(f"Error: {message}", fg="red", err=True)
    sys.exit(code)


def _tame_libraries() -> None:
    """No bars in a pipe or a file, where they are hundreds of lines, nor from all of a job; no error twice."""
    import datasets
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]
    from transformers.utils import logging as transformers_logging

    from hf_curriculum.processes import this_process

    logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)  # they raise what they log as an error
    if sys.stderr.isatty() and this_process().is_main_process:
        return
    datasets.disable_progress_bars()
    disable_progress_bars()
    transformers_logging.disable_progress_bar()
