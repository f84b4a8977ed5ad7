"""A page of a queue: which pictures come next, and what is known of each, as JSON."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from bottleneck_features.report.parts.suspects import suspects
from bottleneck_features.review.session import View
from bottleneck_features.web.transport.problems import Problem
from cache.errors import did_you_mean
from classify.data.split import Indices
from classify.labelling.ask import ask
from classify.labelling.learner import Check
from classify.labelling.queues import expected_mistakes, like, mistakes, stacks, to_confirm, unknown

NAMES = ("start", "ask", "confirm", "doubt", "mistakes", "unknown", "like", "search")
MOST = 500  # pictures of a page
PATIENCE = 3.0  # seconds
EARLY = "label pictures of two classes first: Start shows where to begin"


@dataclass(frozen=True)
class Request:
    """What is asked for. label, true, answer: names of classes; picture: a number; least: of the confidence, 0 to 1.

    after: a version whose labels the head is to have learnt first, where that takes no longer than `PATIENCE`.
    """

    name: str
    label: str = ""
    true: str = ""
    answer: str = ""
    picture: int = -1
    text: str = ""
    least: float = 0.0
    start: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1, le=MOST)] = 100
    after: int = 0


def queue_page(view: View, request: Request) -> dict[str, Any]:
    """pictures: of this page; total: of the queue; and what the queue itself has to say.

    Raises Problem 404 for an unknown queue, class or picture, 409 where nothing is learnt yet.
    """
    if request.name not in NAMES:
        known = f"{did_you_mean(request.name, NAMES)}they are {', '.join(NAMES)}"
        raise Problem(404, f"there is no queue {request.name!r:.80}: {known}")
    if request.name == "start":
        return _stacks(view)
    about: dict[str, Any] = {}
    if request.name == "ask":
        given = None if view.opinion is None else view.opinion.probabilities
        seen = view.one_by_one | view.passed
        numbers = ask(view.pictures.pool, view.settled, given, request.count, seen=seen) if len(seen) else _none()
    elif request.name == "confirm":
        numbers, about = _confirm(view, request)
    elif request.name == "doubt":
        numbers, about = _doubt(view)
    elif request.name == "mistakes":
        check = _checked(view)
        numbers = mistakes(check, *(_code(check.held_out.classes, name) for name in (request.true, request.answer)))
        numbers = numbers[(view.labels[numbers] == request.true) & ~view.kept[numbers]]
    elif request.name == "unknown":
        numbers = unknown(view.pictures.pool, view.settled)
    elif request.name == "like":
        if not 0 <= request.picture < len(view.labels):
            raise Problem(404, f"there is no picture {request.picture}")
        numbers = like(view.pictures.rows, request.picture)
    else:
        numbers = _search(view, request)
    some = numbers[request.start : request.start + request.count]
    return {"version": view.version, "total": len(numbers), "pictures": [said(view, int(n)) for n in some], **about}


def said(view: View, number: int) -> dict[str, Any]:
    """What is known of a picture."""
    opinion = view.opinion
    return {
        "picture": number,
        "name": view.pictures.names[number],
        "label": str(view.labels[number]),
        "kept": bool(view.kept[number]),
        "together": bool(view.labelled[number] and not view.one_by_one[number]),
        "state": str(view.states[number]),
        "answer": None if opinion is None else opinion.classes[opinion.answers[number]],
        "confidence": None if view.confidence is None else float(view.confidence[number]),
    }


def _stacks(view: View) -> dict[str, Any]:
    found = stacks(view.pictures.pool, np.flatnonzero(~view.settled))
    return {
        "version": view.version,
        "total": len(found),
        "stacks": [
            {"members": stack.members.tolist(), "picture": said(view, int(stack.members[0]))}
            for stack in found
        ],
    }  # fmt: skip


def _confirm(view: View, request: Request) -> tuple[Indices, dict[str, Any]]:
    if view.opinion is None or view.confidence is None:
        raise Problem(409, EARLY)
    called = to_confirm(view.opinion, _code(view.opinion.classes, request.label), view.settled)
    sure = called[view.confidence[called] >= request.least]
    wrong = expected_mistakes(view.opinion, view.check, sure)
    told = wrong and {"expected": round(wrong.expected, 2), "interval": wrong.interval}
    return sure, {"mistakes": told, "members": sure.tolist(), "called": len(called)}


def _doubt(view: View) -> tuple[Indices, dict[str, Any]]:
    check = _checked(view)
    answers = check.held_out
    truth = np.array(answers.classes)[answers.truth]
    position = {row: number for number, row in enumerate(answers.rows.tolist())}
    splits = [(np.empty(0, np.intp), np.array([position[row] for row in test])) for _, test in check.splits]
    found = suspects(answers.probabilities, truth, answers.classes, splits)
    current = (view.labels[answers.rows] == truth) & ~view.kept[answers.rows]
    found = [one for one in found if current[one.picture]]
    numbers = answers.rows[[one.picture for one in found]] if found else _none()
    words = {True: "probably wrong", False: "uncertain"}
    return numbers, {
        "suggested": {
            int(number): {
                "label": one.suggested,
                "probability": round(one.probability, 4),
                "doubt": words[one.probably_wrong],
            }
            for number, one in zip(numbers, found, strict=True)
        }
    }


def _search(view: View, request: Request) -> Indices:
    """Pictures whose name, label or state has the text, in any case; of one class where that is given."""
    wanted = request.text.casefold()
    among = np.flatnonzero(view.labels == request.label) if request.label else np.arange(len(view.labels))
    if not wanted:
        return among
    texts = zip(among.tolist(), view.labels[among].tolist(), view.states[among].tolist(), strict=True)
    names = view.pictures.names
    return np.array([n for n, *more in texts if any(wanted in text.casefold() for text in (names[n], *more))], np.intp)


def _checked(view: View) -> Check:
    if view.check is None:
        raise Problem(409, f"nothing is checked yet: {EARLY}")
    return view.check


def _code(classes: list[str], name: str) -> int:
    if name not in classes:
        raise Problem(404, f"there is no class {name!r:.80}: {did_you_mean(name, classes)}they are {classes!r:.300}")
    return classes.index(name)


def _none() -> Indices:
    return np.empty(0, np.intp)
