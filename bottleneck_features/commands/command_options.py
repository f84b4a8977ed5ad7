"""Options that several commands share: one name, one meaning, everywhere."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from cache.arguments import at_home
from cache.errors import UserError
from classify.heads.head_table import HEADS
from classify.labels.class_folders import LABEL_FROM
from featurize.pictures.recipes import MOST_VIEWS, RECIPES
from featurize.spec_options import DEFAULT_BACKBONE, DEFAULT_RECIPE, ENGINES
from pipeline import DEFAULT_CACHE

Command = TypeVar("Command", bound=Callable[..., Any])


def _place(text: str) -> Any:
    """The path that `text` means; an empty one, such as of a variable that is not set, is refused."""
    if not text:
        raise click.BadParameter("it is empty: give a path, or leave the option out")
    return at_home(text)


FILE: dict[str, Any] = {"type": _place, "metavar": "FILE"}
FOLDER: dict[str, Any] = FILE | {"metavar": "FOLDER"}

DATA = [click.option("--data", **FOLDER, help="Folder of images, archive or s3://...; its folders are labels.")]
TEACHER = [
    click.option(
        "--backbone",
        metavar="NAME",
        help=f"Pretrained network, a file (.keras, .onnx, .xml, .tflite), or a model's folder. [{DEFAULT_BACKBONE}]",
    ),
    click.option("--layer", metavar="NAME", help="Layer whose output is taken. [the last one]"),
    click.option("--size", metavar="PIXELS", help="Side of the input, or HEIGHTxWIDTH. [the backbone's own]"),
    click.option("--weights", **FILE, help="Weights file (.h5, .pth), or 'random'. [ImageNet weights]"),
]
SPEC = [
    *TEACHER,
    click.option(
        "--pooling",
        metavar="avg|max|flatten|none",
        help="How a feature map becomes a row; cls or mean for the tokens of a model file. [avg]",
    ),
    click.option(
        "--resize", metavar="antialias|nearest|bilinear", help="How pictures are brought to size. [antialias]"
    ),
    click.option("--engine", type=click.Choice(ENGINES), help="What computes. [auto: openvino where installed]"),
    click.option("--precision", metavar="NAME", help="bf16 (processors) or mixed_bfloat16 (GPUs): faster. [float32]"),
    click.option(
        "--isolate", is_flag=True, default=None, help="Decode in processes of their own, which a picture may crash."
    ),
    click.option("--stored", metavar="float32|float16", help="Type of cached numbers; float16 takes half. [float32]"),
    click.option("--preprocess", metavar="NAME", help="Preprocessing of a .keras or model file. [.keras: none]"),
    click.option("--mean", metavar="R,G,B", help="Of a model file: subtracted from scaled pixels."),
    click.option("--std", metavar="R,G,B", help="Of a model file: what they are divided by then."),
    click.option("--scale", metavar="FACTOR", help="Of a model file: pixels are multiplied by it, such as 1/255."),
    click.option(
        "--crop",
        metavar="SHARE|PIXELS|none",
        help="Of a model file: share of the shorter side kept, such as 0.875, or its pixels before the crop.",
    ),
]
NUMBERS = ("mean", "std", "scale", "crop")  # together they are a `preprocess`
VIEWS = [
    click.option(
        "--views",
        type=click.IntRange(1, MOST_VIEWS),
        help="Rows of a picture: of itself, and of augmented views. [1, to train finetune 8]",
    ),
    click.option(
        "--recipe",
        metavar="NAME|'K=V ...'",
        help=f"How they are augmented: {', '.join(RECIPES)}, or Keras' parameters. [{DEFAULT_RECIPE}]",
    ),
]
PREDICT_VIEWS = [
    click.option(
        "--predict-views",
        type=click.IntRange(1, MOST_VIEWS),
        help="Views whose probabilities are averaged. [as trained; in training as --views, up to 4, with finetune 8]",
    )
]
GROUPS = [
    click.option("--group-column", metavar="NAME", help="Column of the table whose groups, such as sites, never part."),
    click.option("--group-pattern", metavar="REGEX", help="Group in the path: '(?P<group>site\\d+)'."),
    click.option(
        "--group-by",
        metavar="folder|time:SECONDS",
        help="Groups by folders beside the class, or pictures taken less than SECONDS apart; or column:, pattern:.",
    ),
]
LABELS = [
    click.option("--labels", **FILE, help="CSV or Parquet table of labels."),
    click.option("--path-column", default="path", show_default=True, help="Its column of paths."),
    click.option("--label-column", default="label", show_default=True, help="Its column of labels."),
    click.option(
        "--max-missing", type=click.FloatRange(0, 1), metavar="SHARE", help="Share of its rows without picture. [0.1]"
    ),
    click.option("--label-pattern", metavar="REGEX", help="Label in the file name: '(?P<label>cat|dog)'."),
    click.option("--label-from", type=click.Choice(LABEL_FROM), help="Which folders are the classes. [outermost]"),
    click.option("--train", "train_folder", metavar="NAME", multiple=True, help="Folder to train on; repeatable."),
    click.option("--validation", "validation_folder", metavar="NAME", multiple=True, help="Folder to validate on."),
    click.option("--test", "test_folder", metavar="NAME", multiple=True, help="Folder to score on."),
    *GROUPS,
]
GROUP_TABLE = [
    click.option("--labels", **FILE, help="CSV or Parquet table with the --group-column of the images."),
    click.option("--path-column", default="path", show_default=True, help="Its column of paths."),
]
CACHE = [click.option("--cache-dir", **FOLDER, help=f"Where features are kept. [{DEFAULT_CACHE}]")]
REHASH = [
    click.option("--rehash", is_flag=True, default=None, help="Read every file again, even if it looks unchanged.")
]
DECISIONS = [
    click.option(
        "--accept",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Accept answers of which this share is right, such as 0.98; the others go to a person.",
    ),
    click.option(
        "--coverage",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Sets of labels of which this share holds the true one, such as 0.9.",
    ),
]
SHARDS = [click.option("--shard-rows", type=click.IntRange(1), help="Rows of one shard at most. [2048]")]
JSON = [click.option("--json", "json_file", **FILE, help="Write the report there as JSON.")]
POSITIVE = [
    click.option("--positive", metavar="CLASS", help="Score this class of two: its curves, precision, recall, F1."),
    click.option(
        "--prevalence",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        metavar="SHARE",
        help="Share of it among the pictures to come, such as 0.01, that precision is to be of. [as scored]",
    ),
]
MAX_FAILED = [
    click.option(
        "--max-failed", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Share of bad images allowed."
    )
]
SEED = [
    click.option(
        "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of splits and heads."
    )
]
N_JOBS = [
    click.option("--n-jobs", type=click.IntRange(1), help="Folds that run at once; results are the same. [one a core]")
]
CLUSTER = [
    click.option(
        "--cluster",
        metavar="ADDRESS",
        help="Workers: tcp://HOST:8786 (Dask), ray://HOST:10001 or ray, local:N (processes). [this process]",
    ),
    click.option(
        "--through",
        metavar="ADDRESS",
        type=at_home,
        help="Where workers that do not reach the cache push rows: s3://bucket/features, a mounted folder. [sent back]",
    ),
]
HEAD = [click.option("--head", type=click.Choice(list(HEADS)), help="The classifier. [logreg]")]
MODEL_FILE = [click.option("--model", **FILE, help="Model file. [models/HEAD.joblib]")]
MODEL = [
    *MODEL_FILE,
    click.option("--allow-other-versions", is_flag=True, help="Load a model of another scikit-learn."),
    click.option("--sha256", metavar="HEX", help="Load nothing but the .npz or .joblib file of this digest."),
    click.option("--no-pickle", is_flag=True, help="Unpickle nothing: refuse a model without plain arrays."),
]


def options(*groups: list[Callable[[Command], Command]]) -> Callable[[Command], Command]:
    """Decorate a command with groups of options, in the order given."""
    every = reversed([option for group in groups for option in group])
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), every, command)


def examples(*lines: str) -> str:
    """The end of a command's help: each line as an example."""
    return "\b\nExamples:\n" + "\n".join(f"  python -m pipeline {line}" for line in lines)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given: the others keep the defaults of `pipeline`.

    Raises UserError for --preprocess with one of `NUMBERS`, and for two options that name groups.
    """
    found = {name: value for name, value in options.items() if value is not None}
    sources = {name: found.pop(name) for name in ("group_column", "group_pattern", "group_by") if name in found}
    if len(sources) > 1:
        one, other = (f"--{name.replace('_', '-')}" for name in [*sources][:2])
        raise UserError(f"{one} and {other} both name groups: give one of them")
    for name, value in sources.items():
        found["groups"] = value if name == "group_by" else f"{name.removeprefix('group_')}:{value}"
    numbers = {name: ",".join(found.pop(name).replace(",", " ").split()) for name in NUMBERS if name in found}
    if numbers and "preprocess" in found:
        raise UserError(f"--preprocess {found['preprocess']} and --{next(iter(numbers))}: give one of them")
    words = " ".join(f"{name}={value}" for name, value in numbers.items())
    return found | ({"preprocess": words} if words else {})
