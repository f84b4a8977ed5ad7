"""Named groups in the record of a model and in reports; scored pictures of groups that a model was trained on."""

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


def leaked_of_record(record: dict[str, Any], scored: Sequence[str]) -> dict[str, Any]:
    """leaked_groups and leaked_pictures: of the scored pictures in groups that the model was trained on, announced.

    record: of the model. scored: (m,) names of the groups of the scored pictures. Empty where the record names none.
    """
    names = (record.get("groups") or {}).get("names")
    if names is None:
        return {}
    leaked = _leaked(names, scored)
    announce_leaked(leaked)
    return leaked


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
    names = value.get("names", []) if isinstance(value, dict) else None
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _about(by: str | None, names: Iterable[str]) -> dict[str, Any]:
    different = sorted({str(name) for name in names} - {""})
    about = {"by": by, "count": len(different)}
    return about if (by or "").startswith(UNNAMED) else about | {"names": different}


def _leaked(trained: Iterable[str], scored: Sequence[str]) -> dict[str, Any]:
    shared = {*trained} & {*scored} - {""}
    return {"leaked_groups": sorted(shared), "leaked_pictures": sum(name in shared for name in scored)}
