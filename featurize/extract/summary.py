"""What became of many images, as people and programs are told."""

from dataclasses import asdict
from typing import Any

from featurize.extract.extractor import Extractor
from featurize.extract.outcomes import Extraction
from featurize.pictures.find import Failure


def report_of(extractor: Extractor, extraction: Extraction, failures: list[Failure], started: float) -> dict[str, Any]:
    """What became of images, as JSON types. `failures`: of those never looked at; `started`: seconds before."""
    everything = [*failures, *extraction.failures]
    images = len(extraction.digests) + len(failures)
    return {
        "images": images,
        "computed": extraction.computed,
        "cached": images - extraction.computed - len(everything),
        "failed": len(everything),
        "forward_passes": extraction.forward_passes,
        "seconds": extraction.seconds,
        "startup_seconds": extraction.startup_seconds + started,
        "failures": [asdict(failure) for failure in everything],
        "notes": [
            {"path": extraction.name(position), "note": note} for position, note in sorted(extraction.notes.items())
        ],
        "fingerprint": extractor.spec.fingerprint,
        "features": extractor.store.folder,
    }
