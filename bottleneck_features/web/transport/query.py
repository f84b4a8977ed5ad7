"""What a request may ask for behind the question mark: what its route takes, and each of it once."""

import reprlib

from fastapi import Request

from bottleneck_features.web.transport.problems import Problem
from cache.errors import did_you_mean

SHORT = reprlib.Repr()  # of what a client sends, shown to it
SHORT.maxstring = SHORT.maxother = 80  # characters


def check_query(request: Request) -> None:
    """Raise Problem 422 for a parameter that is not known, or given twice: `?rejct=0.95` would reject nothing."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    if unknown := next((name for name in given if name not in known), None):
        there = ", ".join(known) or "none"
        shown = shortened(unknown)[1:-1]
        raise Problem(422, f"{shown}: no such parameter: {did_you_mean(unknown, known)}there are {there}")
    if twice := next((name for name in given if given.count(name) > 1), None):
        values = map(shortened, request.query_params.getlist(twice)[:2])
        raise Problem(422, f"{twice}: given twice, {' and '.join(values)}")


def shortened(value: object) -> str:
    """What a client has sent, of any type and size, in printable letters and not too many."""
    return SHORT.repr(value)
