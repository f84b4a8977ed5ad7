"""The option `cluster` of the functions of `pipeline`. Imports the standard library alone."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import cache.arguments

P = ParamSpec("P")
R = TypeVar("R")


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """As `cache.arguments.checked_arguments`, for functions that also take `cluster`: their work is done there.

    See `featurize.cluster.connect.connected` for what it may be, and `featurize.spec_options.ClusterOptions`.
    """
    checked: Callable[..., R] = cache.arguments.checked_arguments(function)

    @functools.wraps(checked)
    def on_cluster(*given: Any, cluster: str | None = None, **options: Any) -> R:
        if cluster is None:
            return checked(*given, **options)
        from featurize.cluster.connect import connected

        with connected(cluster):
            return checked(*given, **options)

    return on_cluster  # type: ignore[return-value]  # with one more named argument
