"""What the examples share: their options, and the tutorial's figure beside ours."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import click

import pipeline
from bottleneck_features.commands.command_options import CACHE
from bottleneck_features.commands.main import run
from bottleneck_features.terminal.progress import progress_reporter
from bottleneck_features.terminal.result_summary import show_failures
from bottleneck_features.terminal.safe_text import printable
from cache.errors import UserError, log
from examples.downloads import Archive, fetch
from featurize.backbones.weights import NoWeightsError
from featurize.outputs import check_outputs, named
from featurize.spec_options import DEFAULT_BACKBONE

RESULTS = "example-results"

OPTIONS = [
    click.option("--data", envvar="DATA", metavar="FOLDER", help="Your copy of the pictures. [downloaded]"),
    click.option("--backbone", envvar="BACKBONE", metavar="NAME", help="Another backbone. [the tutorial's]"),
    click.option("--size", envvar="SIZE", metavar="PIXELS", help="Side of the input. [the tutorial's, or its own]"),
    click.option("--weights", envvar="WEIGHTS", metavar="FILE", help="Weights file, or 'random'. [ImageNet's]"),
    click.option("--output", metavar="FOLDER", help=f"Where model and pictures go. [{RESULTS}/NAME]"),
]


@dataclass(frozen=True)
class Asked:
    """What a command line asks for. `data` is a folder; `features` are the options of `pipeline.train` that decide the
    rows; `tutorial` is its backbone, and `output` the folder for the model and the pictures drawn of it.
    """

    name: str
    data: str
    features: dict[str, Any]
    tutorial: str
    output: str

    @property
    def backbone(self) -> str:
        return str(self.features["backbone"])

    def place(self, file: str) -> str:
        """The path of a file in the folder of results."""
        return os.path.join(self.output, file)


def example(
    name: str,
    job: Callable[[Asked], None],
    archive: Archive,
    backbone: str,
    size: str | None = None,
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Run an example as a command, and exit with its status.

    `backbone` and `size` are the tutorial's; another backbone has its own size. Where none is named and the tutorial's
    cannot be had here, the default backbone stands in, which is announced.
    """

    def command(**given: str | None) -> None:
        with progress_reporter() as progress:
            data = given["data"] or fetch(archive)
            cache_dir = given["cache_dir"] or pipeline.DEFAULT_CACHE
            chosen = given["backbone"] or (backbone if given["weights"] else obtainable(backbone, cache_dir))
            features: dict[str, Any] = {"backbone": chosen, "progress": progress, "cache_dir": cache_dir}
            if asked_size := given["size"] or (size if chosen == backbone else None):
                features["size"] = asked_size
            features |= {"weights": given["weights"]} if given["weights"] else {}
            output = given["output"] or os.path.join(RESULTS, name)
            drawn = named("--output", os.path.join(output, "curves.png"))
            check_outputs(drawn, data=data, cache_dir=cache_dir)
            job(Asked(name, data, features, backbone, output))

    for option in reversed([*OPTIONS, *CACHE]):
        command = option(command)
    run(click.command(help=job.__doc__)(command), f"python -m examples.{name}", arguments)


def obtainable(backbone: str, cache_dir: str) -> str:
    """`backbone`, its weights downloaded if need be; the default one where they cannot be had here."""
    try:
        pipeline.open_extractor(cache_dir, backbone=backbone)
    except NoWeightsError as error:
        log.warning("%s", error)
        log.warning("%s stands in for %s, the tutorial's backbone", DEFAULT_BACKBONE, backbone)
        return DEFAULT_BACKBONE
    return backbone


def show(asked: Asked, rows: list[tuple[str, float | None, pipeline.Report]]) -> None:
    """Print the accuracy that the tutorial reports (None where it reports none) beside ours, a row for each way.

    The tutorials score a part of the pictures once, as we do; with few pictures the mean over folds, where it was
    asked for, says more.
    """
    for _, _, report in rows:
        if report["accuracy"] is None:
            show_failures(report["failures"])
            raise UserError(f"{report['failed']} of {report['images']} pictures are damaged: nothing was trained")
    print(f"{asked.name:36} {'tutorial':>8} {'ours':>7}   {'95% interval':16} {'scored':>6} {'folds':>7} {'passes':>7}")
    for way, tutorial, report in rows:
        low, high = report["accuracy_interval"]
        stated = "-" if tutorial is None else f"{tutorial:.2f}"
        folds = "-" if report["cv_accuracy"] is None else f"{report['cv_accuracy']:.4f}"
        print(
            f"{way:36} {stated:>8} {report['accuracy']:7.4f}   {low:.4f} to {high:.4f} {report['n']:6} {folds:>7} "
            f"{report['forward_passes']:7}"
        )
    if asked.backbone != asked.tutorial:
        print(f"(the tutorial's figures are of {asked.tutorial}, ours of {printable(asked.backbone)})")
