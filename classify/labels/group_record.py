"""Named groups in the record of a model and in reports; scored pictures of groups that a model was trained on."""

import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cache.errors import log

if TYPE_CHECKING:
    from classify.labels.read_labels import LabelledImages

UNNAMED = "time"  # bursts: their names say nothing to others


def groups_to_json(found: "LabelledImages") -> dict[str, Any] | None:
    """How the groups of labelled pictures were found, how many there are, and under an own split those on both sides.

    by: such as "column:site". count. names, but of bursts. alone: pictures in no group. leaked_groups: of the scored
    part, those that `train` has pictures of; leaked_pictures: how many scored pictures are in these. None where nobody
    named groups.
    """
    if found.groups is None:
        return None
    by_part: defaultdict[str, list[str]] = defaultdict(list)
    for name, part in zip(found.groups, found.parts, strict=True):
        by_part[part].append(name)
    scored = by_part["test"] or by_part["validation"]
    about = _about(found.groups_by, found.groups) | {"alone": found.groups.count("")}
    return about | _leaked(by_part["train"], scored)


def record_of(groups: dict[str, Any] | None, fitted: Sequence[str]) -> dict[str, Any] | None:
    """What a model's record says of groups: those of the pictures that it is fitted on, (n,) names of them."""
    return None if groups is None else _about(groups["by"], fitted)


def leaked_of_record(record: dict[str, Any], by: str, scored: Sequence[str]) -> dict[str, Any]:
    """leaked_groups and leaked_pictures: of the scored pictures in groups that the model was trained on, announced.

    record: of the model. by: how the groups of the scored pictures were found. scored: (m,) names of them. Empty where
    the record names none; None where it names groups of another kind, whose names may mean something else.
    """
    trained = record.get("groups") or {"by": by}
    if trained["by"] != by:
        log.warning(
            "whether the scored pictures are in groups that the model was trained on cannot be told: "
            "its groups are by %r, these by %r",
            trained["by"],
            by,
        )
        return {"leaked_groups": None, "leaked_pictures": None}
    if trained.get("names") is None:
        return {}
    leaked = _leaked(trained["names"], scored)
    announce_leaked(leaked)
    return leaked


def announce_unnamed(record: dict[str, Any], by: str | None) -> None:
    """Say which option is missing where a model was trained with groups and nobody names those of the pictures at hand.

    record: of the model. by: how the groups of these pictures were found, None where nobody named any.
    """
    trained = (record.get("groups") or {}).get("by")
    if not trained or by:
        return
    kind, _, value = trained.partition(":")
    column_or_pattern = kind in ("column", "pattern")
    option = "groups=" if kind == "mapping" else f"--group-by {trained}"
    log.warning(
        "the model was trained with groups by %s: give %s, else pictures of one group may stand on both sides "
        "and intervals are too narrow",
        f"{kind} {value!r}" if column_or_pattern else trained,
        f"--group-{kind} {shlex.quote(value)}" if column_or_pattern else option,
    )


def announce_leaked(leaked: dict[str, Any]) -> None:
    """Say how many of the scored pictures are in groups that are trained on as well."""
    if leaked["leaked_pictures"]:
        log.warning(
            "scored pictures whose groups are trained on: %d (groups: %d, such as %r); "
            "a model is rarely as good in new groups",
            leaked["leaked_pictures"],
            len(leaked["leaked_groups"]),
            leaked["leaked_groups"][0],
        )


def is_group_record(value: Any) -> bool:
    """Whether a value from outside is what `record_of` makes."""
    if value is None:
        return True
    if not isinstance(value, dict) or not isinstance(value.get("by"), str):
        return False
    names = value.get("names", [])
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _about(by: str | None, names: Iterable[str]) -> dict[str, Any]:
    different = sorted({str(name) for name in names} - {""})
    about = {"by": by, "count": len(different)}
    return about if (by or "").startswith(UNNAMED) else about | {"names": different}


def _leaked(trained: Iterable[str], scored: Sequence[str]) -> dict[str, Any]:
    shared = {*trained} & {*scored} - {""}
    return {"leaked_groups": sorted(shared), "leaked_pictures": sum(name in shared for name in scored)}
