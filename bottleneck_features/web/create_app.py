"""The service as an ASGI application, for a server of one's own. Imports nothing heavy."""

import os
import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from cache.arguments import checked_arguments
from cache.errors import UserError

if TYPE_CHECKING:
    from bottleneck_features.web.application import Application

SUCH = "pictures.example"
# A name as browsers send it, or an address, which is answered anyway.
HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?|[0-9a-f:.]*:[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)
OF_MODEL = (
    "cache_dir", "weights", "engine", "allow_other_versions", "sha256", "no_pickle", "predict_views",
)  # fmt: skip


@checked_arguments
def create_app(
    model: str,
    *,
    token: str | None = None,
    hosts: Sequence[str] = (),
    isolate: bool = False,
    **options: Any,
) -> "Application":
    """Make the service of a trained model an ASGI application, for uvicorn, gunicorn or any other server.

    The model is loaded by the process that serves, when its application starts: a server may fork after this call. One
    process answers with threads, one a core; more processes are more memory, not more speed.

    Parameters
    ----------
    model : str
        As in `load`.
    token : str, optional
        Answer nothing of the API without `Authorization: Bearer TOKEN`.
    hosts : list of str
        Names under which the service is reached, beside localhost and addresses. With a token any name is answered.
    isolate : bool
        Decode pictures in processes of their own, which a picture may crash.
    **options
        cache_dir, weights, engine, allow_other_versions, sha256, no_pickle, predict_views: as in `load`. max_body,
        max_pixels, max_pictures, max_queue, max_client, max_seconds, max_connections: see
        `bottleneck_features.web.limits.Limits`.

    Returns
    -------
    Application
        The ASGI application. `service` is what its routes use.

    Raises
    ------
    UserError
        There is no such file, an option is not valid, or the packages of `[web]` are not installed.

    Examples
    --------
    >>> app = pipeline.create_app("models/logreg.joblib")  # module.py: uvicorn module:app
    >>> app.service.limits.max_pictures
    64
    """
    from bottleneck_features.web.limits import Limits

    if not isinstance(model, str):
        raise UserError(f"create_app takes the path of a model, not {model!r}: each process that serves loads it")
    if not os.path.exists(model):
        raise UserError(f"model {model}: no such file")
    if token is not None and not (isinstance(token, str) and re.fullmatch(r"[!-~]+", token)):
        raise UserError("the token is empty or has other characters than those of a header: give letters and digits")
    names = [hosts] if isinstance(hosts, str) else hosts
    if not isinstance(names, Collection) or not all(isinstance(name, str) for name in names):
        raise UserError(f"hosts={hosts!r} is not valid: give names, such as [{SUCH!r}]")
    for name in names:
        _check_host(name)
    of_model = {name: options.pop(name) for name in OF_MODEL if name in options}
    limits = Limits.of(options)
    from bottleneck_features.web.application import application
    from bottleneck_features.web.service import Service

    return application(Service(model, limits, of_model, isolate), token, names)


def _check_host(name: str) -> None:
    """Raise UserError for what no Host header has in the place of a name."""
    if HOST.fullmatch(name):
        return
    found = re.match(r"(?:\w+://)?([^/:]+)(?::\d*)?(?:/.*)?$", name)
    alone = found[1] if found and HOST.fullmatch(found[1]) else ""
    raise UserError(
        f"host {name!r} is not valid: " + (f"give the name alone, {alone}" if alone else f"give a name, such as {SUCH}")
    )
