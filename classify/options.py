"""What a caller may choose of where labels come from. Imports nothing heavy."""

from typing import TypedDict


class LabelOptions(TypedDict, total=False):
    """Where labels come from, if not from folders: keyword arguments of `classify.labels.read_labels`."""

    labels: str | None
    path_column: str
    label_column: str
    label_pattern: str | None


DEFAULT_SCORING = "neg_log_loss"  # what a search goes by: accuracy is the same for many candidates on easy pictures
