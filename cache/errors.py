"""What a person is told: the error for what the one at the keyboard can mend, the log, and lists in few words."""

import difflib
import logging
from collections.abc import Iterable

log = logging.getLogger("bottleneck")
AT_ONCE = {"at_once": True}  # `extra` of a warning that a person may want to stop for; others wait for the result


class UserError(ValueError):
    """One line: what is wrong, the offending value, and what to do about it.

    The command line prints the line and exits with status 2; callers from Python can catch it as `ValueError`.
    """


def listed(words: Iterable[str], most: int) -> str:
    """The first `most` words with commas between them, and how many more there are."""
    words = [*words]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A question with up to three names that are much like a wrong one, and a space after it; "" where none is."""
    close = difflib.get_close_matches(wrong, [*known], n=3)
    return f"did you mean {' or '.join(close)}? " if close else ""
