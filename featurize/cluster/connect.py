"""From an address to the joblib backend that speaks to it: Dask, Ray, or processes of this machine."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from cache.errors import UserError, log
from featurize.machine.parallel import THREADS

ACCEPTED = "give tcp://HOST:8786 or tls://HOST:8786 (Dask), ray://HOST:10001 or ray (Ray), or local:N (processes)"
SECONDS = 10  # in which a scheduler has to answer


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Have the body's features, folds and searches computed by the workers at `address`.

    Parameters
    ----------
    address : str
        "tcp://HOST:PORT" or "tls://HOST:PORT" of a Dask scheduler, "ray://HOST:PORT" or "ray" (the cluster that Ray's
        own variables name, else this machine), or "local:N": N processes of this machine, which share its cores.

    Raises
    ------
    UserError
        For any other address, where nobody answers, and where the package is not installed.

    Examples
    --------
    >>> with connected("local:2"):
    ...     report = pipeline.features("photos", backbone="nano")
    """
    if local := re.fullmatch(r"local:([1-9]\d{0,3})", address):
        with _processes(int(local[1])):
            yield
    elif re.match(r"(tcp|tls)://.", address):
        with _dask(address):
            yield
    elif address == "ray" or re.match(r"ray://.", address):
        with _ray(address):
            yield
    else:
        raise UserError(f"cluster {address!r} is no address: {ACCEPTED}")


@contextmanager
def _processes(count: int) -> Iterator[None]:
    from joblib import parallel_config

    if count == 1:  # joblib computes with one process in this one
        yield
        return
    with parallel_config("loky", n_jobs=count, inner_max_num_threads=max(1, round(THREADS / count))):
        yield


@contextmanager
def _dask(address: str) -> Iterator[None]:
    from joblib import parallel_config

    try:
        from distributed import Client
    except ImportError:
        raise UserError(f"cluster {address} is one of Dask, which is not installed: pip install '.[dask]'") from None
    try:
        client = Client(address, timeout=SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TypeError: tls without certificates
        raise UserError(f"cluster {address}: no scheduler of Dask answers there ({_line(error)})") from None
    with client:
        if not client.ncores():
            log.info("the scheduler at %s has no workers yet: waiting for one", address)
            client.wait_for_workers(1)
        with parallel_config("dask", client=client, wait_for_workers_timeout=None):
            yield


@contextmanager
def _ray(address: str) -> Iterator[None]:
    from joblib import parallel_config

    try:
        import ray

        if address != "ray":
            import grpc  # noqa: F401  of ray[client]
        from featurize.cluster.backends.ray_backend import WarmRay
    except ImportError:
        raise UserError(f"cluster {address} is one of Ray, which is not installed: pip install '.[ray]'") from None
    started = not ray.is_initialized()
    if started:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers unless told not to
        try:
            with warnings.catch_warnings(action="ignore"):  # it warns of what it raises
                ray.init(None if address == "ray" else address, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            # a head that finds a token asks for it by itself; who connects to it has to say so
            hint = "" if "RAY_AUTH_MODE" in os.environ else "; where the cluster has a token, set RAY_AUTH_MODE=token"
            raise UserError(f"cluster {address}: no cluster of Ray answers there ({_line(error)}){hint}") from None
    backend = WarmRay()
    try:
        with parallel_config(backend, n_jobs=max(1, int(ray.cluster_resources().get("CPU", 1)))):
            yield
    finally:
        backend.end()
        if started:
            ray.shutdown()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
