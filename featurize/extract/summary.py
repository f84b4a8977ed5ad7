"""What became of many images, as people and programs are told."""

from dataclasses import asdict
from typing import Any

from featurize.extract.extractor import Extractor
from featurize.extract.outcome import Outcome
from featurize.pictures.find import Failure


def report_of(extractor: Extractor, outcome: Outcome, failures: list[Failure], started: float) -> dict[str, Any]:
    """What became of images, as JSON types. `failures`: of those never looked at; `started`: seconds before."""
    everything = [*failures, *outcome.failures]
    images = len(outcome.digests) + len(failures)
    return {
        "images": images,
        "computed": outcome.computed,
        "cached": images - outcome.computed - len(everything),
        "failed": len(everything),
        "forward_passes": outcome.forward_passes,
        "seconds": outcome.seconds,
        "startup_seconds": outcome.startup_seconds + started,
        "failures": [asdict(failure) for failure in everything],
        "notes": [{"path": outcome.name(position), "note": note} for position, note in sorted(outcome.notes.items())],
        "fingerprint": extractor.spec.fingerprint,
        "features": extractor.store.folder,
    }
