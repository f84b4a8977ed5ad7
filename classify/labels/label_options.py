"""What a caller may choose of where labels come from. Imports nothing heavy."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, TypedDict, Union

from featurize.spec_options import ClusterOptions, SpecOptions

if TYPE_CHECKING:
    import pandas as pd

AnyTable = Union[str, PathLike[str], "pd.DataFrame"]


class LabelOptions(TypedDict, total=False):
    """Where labels come from, if not from folders: keyword arguments of `classify.labels.read_labels.read_labels`.

    labels: CSV or Parquet file, or a DataFrame (`classify.labels.label_tables`), with columns path_column ("path") and
    label_column ("label"). Paths are relative to the folder of pictures, to the table's own or to the current one. At
    most a share max_missing (0.1) of its rows may have no picture. A column such as "split" may name the parts.
    label_pattern: regular expression searched in every file name, with a group named `label`.
    label_from: which folders are the classes where there are folders in folders, "outermost" (the default, refused
    where several hold the same folders) or "innermost".
    train_folder, validation_folder, test_folder: folders, relative to that of the pictures, that are the data's own
    split, where their names do not say so.
    groups: which pictures no split parts, beside near-duplicates: "column:NAME" of the table, "pattern:REGEX" searched
    in every path below the folder, with a group named `group`; "folder" (the one below that of the class, else above
    it); "time:SECONDS" (pictures of one folder taken less than so many seconds apart); or a mapping from paths to
    groups, see `classify.labels.named_groups`.
    """

    labels: AnyTable | None
    path_column: str
    label_column: str
    max_missing: float
    label_pattern: str | None
    label_from: str | None
    train_folder: str | Sequence[str]
    validation_folder: str | Sequence[str]
    test_folder: str | Sequence[str]
    groups: str | Mapping[Any, Any] | None


class Options(SpecOptions, LabelOptions, ClusterOptions, total=False):
    """What decides the features, where labels come from, and who computes."""


class PredictOptions(TypedDict, total=False):
    """How pictures are predicted: keyword arguments of `pipeline.predict`.

    cache_dir, weights: as of `pipeline.load`. use_cache: None reads the cache and does not write it, True stores what
    is computed as well (as the command line does), False leaves it alone. rehash: read every file again, as in
    `pipeline.features`. reject: such as 0.95, the share of known pictures to keep; others get no answer.
    """

    cache_dir: str | None
    weights: str | None
    use_cache: bool | None
    rehash: bool
    reject: float | None


class TopOptions(PredictOptions, total=False):
    """How pictures are predicted and decided on: keyword arguments of `pipeline.top_k`.

    accept: such as 0.98, the share of accepted answers that are to be right. coverage: such as 0.9, the share of label
    sets that are to hold the true label. See `classify.saved.classifier.Classifier.answers`.
    """

    accept: float | None
    coverage: float | None


DEFAULT_SCORING = "neg_log_loss"  # what a search goes by: accuracy is the same for many candidates on easy pictures
