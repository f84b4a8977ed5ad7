"""Log what was decided about unusual pictures: one line for each kind of decision, not for each picture."""

import re
from collections import Counter
from collections.abc import Iterable

from cache.errors import log

_NUMBER = re.compile(r"-?\d[\d.e+-]*")


def announce_notes(notes: Iterable[tuple[str, str]]) -> None:
    """Log (name of the picture, note) pairs, those that differ in numbers alone as one, with their count."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for name, note in notes:
        kinds.setdefault(_NUMBER.sub("0", note), []).append((name, note))
    for (name, note), *others in kinds.values():
        if others:
            log.info("%d pictures such as %s: %s", 1 + len(others), name, note)
        else:
            log.info("%s: %s", name, note)


def announce_changed(kinds: Iterable[str], decoder: int, today: int) -> None:
    """Say which kinds of pictures decoder `today` reads otherwise than the `decoder` of a model or of cached rows."""
    counts = Counter(kinds)
    if counts:
        total = counts.total()
        log.warning(
            "%d picture%s read as decoder %d did, whose rows the model has; decoder %d reads them otherwise (%s): "
            "train again to use it",
            total,
            "s were" if total > 1 else " was",
            decoder,
            today,
            ", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items())),
        )
