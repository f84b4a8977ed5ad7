"""What is taken where nobody says which pictures: the crops of `classify.data.surfaces`."""

import os
from collections.abc import Mapping
from typing import Any

from cache.errors import log
from classify.labels.label_options import LabelOptions
from featurize.spec_options import SpecOptions


def given_or_surfaces(data: str | None, label_source: LabelOptions) -> str | None:
    """`data` as given, or where no data and no source of labels is given the folder of surfaces.

    Says in one line what is taken.
    """
    if data is not None or label_source.get("labels") is not None or label_source.get("label_pattern") is not None:
        return data
    from classify.data.surfaces import surfaces_folder

    folder = surfaces_folder()
    log.info("no data given: taking the photographs of surfaces that come with scikit-image, in %s/", folder)
    return folder


def surfaces_to_predict() -> str:
    """The folder of pictures to predict where none are given; says so in one line."""
    from classify.data.surfaces import surfaces_folder

    folder = os.path.join(surfaces_folder(), "test")
    log.info("no images given: taking the test part of the photographs that come with scikit-image, in %s/", folder)
    return folder


def split_options(data: str | None, options: Mapping[str, Any]) -> tuple[str | None, SpecOptions, LabelOptions]:
    """(data, the options that decide the spec, those that say where labels come from), defaults for want of data."""
    spec: Any = {name: value for name, value in options.items() if name in SpecOptions.__annotations__}
    label_source: Any = {name: value for name, value in options.items() if name in LabelOptions.__annotations__}
    for name in options.keys() - spec.keys() - label_source.keys():
        raise TypeError(f"unexpected keyword argument {name!r}")
    return given_or_surfaces(data, label_source), spec, label_source
