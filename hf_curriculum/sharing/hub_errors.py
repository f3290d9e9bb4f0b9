"""What the Hub's clients raise: repeated where it may pass, explained where it may not."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from huggingface_hub import CommitInfo, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

logger = logging.getLogger(__name__)

# The base of what the HTTP library raises, too: huggingface_hub has had three of these libraries.
_HTTP_ERROR = cast(
    type[Exception], next(kind for kind in reversed(HfHubHTTPError.__mro__) if kind.__module__ != "builtins")
)
_ERRORS = (_HTTP_ERROR, LocalTokenNotFoundError, OfflineModeIsEnabled)
_WAITS = (1, 2, 4)  # seconds between the attempts to commit


def repeated(commit: Callable[[], CommitInfo], create_pr: bool) -> CommitInfo:
    """What ``commit`` returns, after some more attempts if it fails for a reason that passes.

    The clients repeat each upload themselves, but not the commit at its end. What it repeats is harmless: files that
    are there already make no commit, and a card is read anew. But a second pull request would be one too many.

    Args:
        commit: Uploads, and returns the commit.
        create_pr: Whether each call opens a pull request: then it is called once.

    Returns:
        The commit.

    Raises:
        Exception: Whatever ``commit`` raises, at once or in the last attempt.
    """
    for wait in () if create_pr else _WAITS:
        try:
            return commit()
        except _HTTP_ERROR as error:
            if not _may_pass(error):
                raise
            logger.warning("The Hub did not take the commit; trying again in %d s. %s", wait, error)
            time.sleep(wait)
    return commit()


def _may_pass(error: Any) -> bool:
    """Whether it is a commit that failed, by a lost connection, a fault of the Hub or another commit in between."""
    status, response = _status(error), getattr(error, "response", None)
    request = error.request if response is None else response.request
    return "/commit/" in str(request.url) and (status is None or status in (409, 412) or status >= 500)


def _status(error: Any) -> int | None:
    """The Hub's answer; ``None`` if there was none."""
    return getattr(getattr(error, "response", None), "status_code", None)


@contextmanager
def explained(what: str, token: str | bool | None, again: str = "") -> Iterator[None]:
    """Turn an error of the Hub's clients into one that says what is so, why, and what helps.

    Args:
        what: Did not happen, the beginning of the message.
        token: What the client was given.
        again: How to go on, the end of the message. Default nothing.

    Yields:
        Once: what is called inside may raise.

    Raises:
        PermissionError: If there is no token, or the Hub does not accept it.
        FileNotFoundError: If the Hub does not find the repository.
        ConnectionError: If the Hub cannot be reached, or fails.
        OSError: If the Hub refuses the request for another reason.
    """
    try:
        yield
    except (*_ERRORS, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) else error  # uploads of large files wrap theirs
        if not isinstance(cause, _ERRORS):
            raise
        kind, why = _reason(cause, token)
        raise kind(f"{what}: {why} {again}".rstrip()) from error


def _reason(error: Any, token: str | bool | None) -> tuple[type[OSError], str]:
    status = _status(error)
    if isinstance(error, LocalTokenNotFoundError) or status in (401, 403):
        if token is False or not (isinstance(token, str) or get_token()):
            return PermissionError, "there is no token. Log in with `hf auth login`, or pass token=."
        return PermissionError, (
            f"the Hub does not accept the token for it (status {status}). Log in with `hf auth login`, or pass "
            "token=, one that may write to this repository."
        )
    if status == 404:
        return FileNotFoundError, (
            "the Hub does not find it, or does not show it with this token. Check the spelling, and that the token "
            "of `hf auth login` may write to it."
        )
    if status is not None and status < 500 and status not in (409, 412, 429):
        return OSError, f"the Hub refused the request and says: {error}."
    said = "cannot be reached" if status is None else f"answered with status {status}"
    return ConnectionError, f"the Hub {said} ({type(error).__name__}: {error})."
