"""Features of images as one plain HDF5 file: computed where they are missing, then written."""

from collections.abc import Sequence

from cache.shard import DamagedShardError
from cache.upkeep.plain_export import export_rows
from featurize.extract.extractor import Extractor
from featurize.extract.outcome import Outcome


def export_images(extractor: Extractor, paths: Sequence[str], labels: Sequence[str] | None, output: str) -> Outcome:
    """Write the rows of images, with their paths and labels (of each image, or None), to `output`.

    Raises as `Extractor.run` and `cache.upkeep.plain_export.export_rows`. Returns what became of the images.
    """
    while True:
        outcome = extractor.run(paths)
        kept = outcome.succeeded
        kept_labels = None if labels is None else [labels[i] for i in kept]
        try:
            export_rows(extractor.store, outcome.keys, [paths[i] for i in kept], kept_labels, output)
            return outcome
        except DamagedShardError as error:  # its rows are then missing, and computed again
            extractor.store.set_aside(error)
