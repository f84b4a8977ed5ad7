"""The options `cluster` and `through` of the functions of `pipeline`. Imports the standard library alone."""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ParamSpec, TypeVar

import cache.arguments

P = ParamSpec("P")
R = TypeVar("R")


def checked_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """As `cache.arguments.checked_arguments`, for functions that also take `cluster` and `through`.

    See `featurize.cluster.connect.connected` and `featurize.cluster.active_cluster.pushing_through` for what they may
    be, and `featurize.spec_options.ClusterOptions`.
    """
    checked: Callable[..., R] = cache.arguments.checked_arguments(function)

    @functools.wraps(checked)
    def on_cluster(*given: Any, cluster: str | None = None, through: Any = None, **options: Any) -> R:
        with ExitStack() as stack:
            if cluster is not None:
                from featurize.cluster.connect import connected

                stack.enter_context(connected(cluster))
            if through is not None:
                from featurize.cluster.active_cluster import pushing_through

                stack.enter_context(pushing_through(cache.arguments.at_home(through)))
            return checked(*given, **options)

    return on_cluster  # type: ignore[return-value]  # with two more named arguments
