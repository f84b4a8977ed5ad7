"""What a person is told: the error for what the one at the keyboard can mend, the log, and lists in few words."""

import difflib
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

log = logging.getLogger("bottleneck")
AT_ONCE = {"at_once": True}  # `extra` of a warning that a person may want to stop for; others wait for the result


class UserError(ValueError):
    """One line: what is wrong, the offending value, and what to do about it.

    The command line prints the line and exits with status 2; callers from Python can catch it as `ValueError`.
    """


# Packages that the project is installed with, and a serving machine is not: module or package -> what pip calls it.
NOT_TO_SERVE = {
    "tensorflow": "tensorflow", "keras": "tensorflow", "sklearn": "scikit-learn", "scikit-learn": "scikit-learn",
    "pandas": "pandas", "joblib": "joblib", "threadpoolctl": "scikit-learn", "matplotlib": "matplotlib",
    "jinja2": "jinja2", "skimage": "scikit-image", "scipy": "scipy", "h5py": "h5py", "isal": "isal",
}  # fmt: skip
OF_WEB = ("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "python_multipart")  # modules of `[web]`


@contextmanager
def naming_packages() -> Iterator[None]:
    """Raise UserError where the body needs a package that is not installed here, as on a serving machine."""
    try:
        yield
    except ModuleNotFoundError as error:  # also what `importlib.metadata` raises for a version that it does not find
        module = (error.name or "").partition(".")[0]
        if module in OF_WEB:
            advice = "pip install '.[web]'"
            raise UserError(f"this takes {module}, which is not installed here: {advice}") from error
        package = NOT_TO_SERVE.get(module)
        if package is None:
            raise
        raise not_installed(package) from error


def not_installed(package: str) -> UserError:
    """What a person is told who asks for what a serving machine cannot do."""
    return UserError(
        f"this takes {package}, which is not installed here: install the whole project (pip install .), or predict "
        "with a bundle (export --output NAME.zip), which needs requirements-serve.txt alone"
    )


def listed(words: Iterable[str], most: int) -> str:
    """The first `most` words with commas between them, and how many more there are."""
    words = [*words]
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A question with up to three names that are much like a wrong one, and a space after it; "" where none is."""
    close = difflib.get_close_matches(wrong, [*known], n=3)
    return f"did you mean {' or '.join(close)}? " if close else ""
