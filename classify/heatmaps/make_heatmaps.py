"""Pictures and the classes that they were given -> heat maps: exact ones where the model has them, else by occlusion.

from the cache, the rest by the network: maps before the pooling, or rows of pictures with a part hidden -> a map each
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cache.errors import log
from classify.heatmaps.class_maps import class_map
from classify.heatmaps.heat_map import HeatMap
from classify.heatmaps.last_maps import NoClassMapError, last_maps
from classify.heatmaps.occlusion import hiding_extractor, occlusion_map
from featurize.extract.extractor import Extractor, RowsMissingError
from featurize.extract.outcome import Progress
from featurize.pictures.sources import Source

if TYPE_CHECKING:
    from classify.saved.classifier import Classifier

AT_ONCE = 16  # pictures whose maps, or rows in all views, are in memory together

Rows = dict[int, np.ndarray]  # of the pictures at hand that have some, by their number
Features = Callable[[Extractor], Rows]
Make = Callable[[Features, Sequence[int]], dict[int, HeatMap]]  # for these classes, by the numbers of the pictures


@dataclass
class HeatMaps:
    """A map of each picture, None where it has none, and what passed a network for them.

    by_occlusion: why they are not exact, one line; "" where they are.
    """

    maps: list[HeatMap | None]
    forward_passes: int = 0
    by_occlusion: str = ""


def heatmaps_of(
    classifier: "Classifier",
    sources: Sequence[Source],
    answers: Sequence[int | None],
    use_cache: bool | None = None,
    progress: Progress | None = None,
) -> HeatMaps:
    """Of each source a map for the class of that number in `classifier.classes_`; none for None and for what fails.

    `use_cache` as in `Classifier`. That maps are not exact is announced. Raises UserError where the network is needed
    and cannot be had.
    """
    found = HeatMaps([None] * len(sources))

    def instead(reason: NoClassMapError) -> Make:
        found.by_occlusion = str(reason)
        log.info("heat maps by hiding parts of each picture, because %s", reason)
        return _by_occlusion(classifier)

    try:
        make = _exactly(classifier)
    except NoClassMapError as reason:
        make = instead(reason)
    wanted = [(position, code) for position, code in enumerate(answers) if code is not None]
    everything = [sources[position] for position, _ in wanted]
    complete: set[Extractor] = set()  # whose rows of everything are in the cache
    for start in range(0, len(wanted), AT_ONCE):
        positions, codes = zip(*wanted[start : start + AT_ONCE], strict=True)
        chunk = [sources[position] for position in positions]

        def features(extractor: Extractor, chunk: Sequence[Source] = chunk, start: int = start) -> Rows:
            if use_cache and start and extractor not in complete:  # the maps of the first ones were as expected
                complete.add(extractor)
                with suppress(RowsMissingError):  # the cache cannot be written
                    found.forward_passes += extractor.run(everything, progress).forward_passes
            if use_cache is False:
                outcome, rows = extractor.without_cache(chunk)
            else:
                outcome, rows = (extractor.features if use_cache else extractor.complete)(chunk, progress)
            found.forward_passes += outcome.forward_passes
            return dict(zip(outcome.succeeded, rows, strict=True))

        try:
            made = make(features, codes)
        except NoClassMapError as reason:  # that shows in the first maps
            make = instead(reason)
            made = make(features, codes)
        for number, heat in made.items():
            found.maps[positions[number]] = heat
    return found


def heatmap_of(classifier: "Classifier", code: int, features: Features) -> HeatMap | None:
    """The map of one picture for class number `code`; None where it has no rows.

    features: gives the rows of the picture, numbered 0, by an extractor; none where it cannot be decoded. Raises
    UserError where the network cannot be had.
    """
    try:
        return _exactly(classifier)(features, [code]).get(0)
    except NoClassMapError as reason:
        log.debug("a heat map by hiding parts of the picture, because %s", reason)
        return _by_occlusion(classifier)(features, [code]).get(0)


def _exactly(classifier: "Classifier") -> Make:
    """Exact maps. Raises NoClassMapError where the model has none, the returned function where its maps have not."""
    (maps_of, head, flat), seen = last_maps(classifier), _seen(classifier)

    def make(features: Features, codes: Sequence[int]) -> dict[int, HeatMap]:
        made = {}
        for number, maps in maps_of(features).items():
            values = class_map(head, maps, flat, codes[number])
            made[number] = HeatMap(classifier.classes_[codes[number]], values, True, *seen)
        return made

    return make


def _by_occlusion(classifier: "Classifier") -> Make:
    extractor, seen = hiding_extractor(classifier.of_pixels.parts), _seen(classifier)

    def make(features: Features, codes: Sequence[int]) -> dict[int, HeatMap]:
        found = features(extractor)
        if not found:
            return {}
        rows = np.stack([*found.values()])
        each = classifier.decided(rows.reshape(-1, rows.shape[-1])).reshape(*rows.shape[:2], -1)
        made = {}
        for number, probabilities in zip(found, each, strict=True):
            values = occlusion_map(probabilities[:, codes[number]])
            made[number] = HeatMap(classifier.classes_[codes[number]], values, False, *seen)
        return made

    return make


def _seen(classifier: "Classifier") -> tuple[tuple[int, int] | None, str]:
    """The size and the resizing of the network's input; of several networks, those of the first."""
    spec = classifier.saved.spec.parts[0]
    return spec.size, spec.resize
