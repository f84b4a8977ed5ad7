"""Addresses of object storage, and the drivers that answer them. Credentials are the drivers' own business."""

import asyncio
import os
import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from cache.errors import UserError
from cache.files.path_kinds import EXTRAS, is_web

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

IN_FLIGHT = 64  # requests at once

# s3fs keeps ten connections, whatever is asked of it, and asks for the size of each object before it reads one, to read
# large ones in parts at once.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"max_pool_connections": IN_FLIGHT}, "max_concurrency": 1}
}

# What gives access: name and password before the host, keys and signatures in a query.
_USER = re.compile(r"([a-z][a-z0-9]*)://([^/?#\s]*)@", re.IGNORECASE)
_SECRET = re.compile(
    r"(?<![a-z0-9])((?:x-(?:amz|goog)-(?:signature|credential|security-token)|aws(?:access|secret)[a-z_-]*|signature|sig"
    r"|se|sp|sv|[a-z_-]*(?:token|password|passwd|secret|api-?key|apikey)|key|credential)=)[^&\s'\"]+",
    re.IGNORECASE,
)

# A file system opens its connections once. fsspec would make one for each thread, and a forked process needs its own.
_opened: "dict[tuple[int, str], AbstractFileSystem]" = {}
_opening = threading.Lock()


def file_system(url: str) -> "tuple[AbstractFileSystem, str]":
    """The file system of an address, and the address as that file system calls it.

    It may be used from several threads. Nothing is asked of the network yet.

    Raises UserError where the driver is not installed, naming the extra that brings it, and for an address that
    contains credentials.
    """
    check_address(url)
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    key = os.getpid(), f"{scheme}://{rest.partition('/')[0]}"
    try:
        import fsspec

        with _opening:
            if key not in _opened:
                options = _OPTIONS.get(scheme, {})
                # Nothing is remembered of listings: objects may change meanwhile.
                _opened[key], path = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
                return _opened[key], path
        files = _opened[key]
        return files, files._strip_protocol(url)
    except ImportError as error:
        missing = f"{scheme}:// takes a driver that is not installed here ({error.name or error})"
        raise UserError(f"{missing}: pip install '.[{EXTRAS.get(scheme, 'storage')}]'") from None
    except driver_errors() as error:
        raise UserError(f"{without_secrets(url)} cannot be opened: {described(error)}") from None


def check_address(url: str) -> None:
    """Raise UserError, which does not repeat them, for credentials in an address: it is written into records.

    Those are a name before the host (but "container@account" of Azure is no secret), and a signature, a key or a token
    in the query. An address of the web has no query at all: what it means is not known.
    """
    _, _, rest = url.partition("://")
    user, at, _ = rest.partition("/")[0].rpartition("@")
    web = is_web(url)
    if (at and (":" in user or web)) or (web and "?" in url) or _SECRET.search(rest.partition("?")[2]):
        raise UserError(
            f"{without_secrets(url)}: an address is written into models and reports and may hold no password, key or "
            "signature: give them as the driver expects, such as by environment variables"
        )


def without_secrets(text: str) -> str:
    """A text without what gives access to storage, should an address or an error of a driver contain it."""

    def hide(found: re.Match[str]) -> str:
        is_secret = ":" in found[2] or found[1].lower().startswith("http")
        return f"{found[1]}://...@" if is_secret else found[0]

    hidden = _USER.sub(hide, text)
    return _SECRET.sub(r"\1...", hidden)


def described(error: BaseException) -> str:
    """One line about an error of a driver, without secrets."""
    if isinstance(error, FileNotFoundError):
        return "no such object"
    if isinstance(error, PermissionError):
        return "access denied"
    lines = str(error).split() or [type(error).__name__]
    return without_secrets(" ".join(lines))[:200]


def driver_errors() -> tuple[type[Exception], ...]:
    """What the drivers that are loaded raise where a request fails."""
    named = (
        ("botocore.exceptions", "BotoCoreError"), ("botocore.exceptions", "ClientError"), ("aiohttp", "ClientError"),
        ("azure.core.exceptions", "AzureError"), ("gcsfs.retry", "HttpError"),
        ("google.auth.exceptions", "GoogleAuthError"), ("fsspec.exceptions", "FSTimeoutError"),
    )  # fmt: skip
    loaded = (getattr(sys.modules[module], name, None) for module, name in named if module in sys.modules)
    return (OSError, ValueError, asyncio.TimeoutError, *(error for error in loaded if error))
