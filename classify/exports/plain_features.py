"""Features, labels and paths of labelled images as one plain HDF5 or Parquet file. Imports nothing heavy."""

from typing import Unpack

from cache.arguments import checked_arguments
from cache.errors import UserError
from classify.labels.label_options import Options
from featurize.open_extractor import open_extractor
from featurize.spec_options import DEFAULT_CACHE


@checked_arguments
def export(
    data: str | None, output: str, *, cache_dir: str = DEFAULT_CACHE, **options: Unpack[Options]
) -> tuple[int, int]:
    """Write features, labels and paths of the images in a folder (or table) into one plain HDF5 or Parquet file.

    With labels, labelled images only; where none has a label, all images and no labels. Missing features are computed.
    Rows are those of the original pictures, not of augmented views.

    Parameters
    ----------
    output : str
        The file to write: Parquet where it ends in .parquet or .pq, which needs pyarrow, HDF5 otherwise.
    data, cache_dir, **options
        As in `pipeline.features`.

    Returns
    -------
    tuple of int
        Rows written, images that failed.

    Raises
    ------
    UserError
        As `pipeline.features`; and for an `output` that would overwrite what is read.

    Examples
    --------
    >>> import pipeline
    >>> pipeline.export("photos", "features.h5", backbone="nano")
    (36, 0)
    """
    from cache.shard_file import DamagedShardError
    from cache.upkeep.parquet_export import SUFFIXES, export_parquet, import_pyarrow
    from cache.upkeep.plain_export import export_rows
    from classify.data.default_data import split_options
    from classify.labels.read_labels import find_labelled
    from featurize.outputs import check_outputs, inputs_of, named
    from featurize.replaceable import require_kind

    check_outputs(named("--output", output), inputs_of(options), data=data, cache_dir=cache_dir)
    write = export_rows
    if output.lower().endswith(SUFFIXES):
        import_pyarrow()
        write = export_parquet
    require_kind("--output", output, "export of features")
    data, spec, label_source = split_options(data, options)
    spec.pop("views", None)
    found = find_labelled(data, **label_source)
    if found.doubt:
        raise UserError(found.doubt)
    extractor = open_extractor(cache_dir, **spec)
    images = found.paths or found.all_images
    while True:
        outcome = extractor.run(images)
        kept = outcome.succeeded
        labels = [found.labels[i] for i in kept] if found.labels else None
        try:
            write(extractor.store, outcome.keys, [images[i] for i in kept], labels, output)
            return len(kept), len(outcome.failures) + len(found.failures)
        except DamagedShardError as error:  # its rows are then missing, and computed again
            extractor.store.set_aside(error)
