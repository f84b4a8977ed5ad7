"""export, serve: a saved model leaves the project, or answers others."""

import os
from typing import Any

import click

import pipeline
from bottleneck_features.commands.command_options import CACHE, DECISIONS, FILE, FOLDER, examples, given, options
from bottleneck_features.terminal.safe_text import printable


@click.command(
    epilog=examples(
        "export --model models/logreg.joblib --output animals.onnx",
        "export --model models/logreg.joblib --output animals.tflite --precision int8",
    )
)
@click.option("--model", **FILE, required=True, help="The saved model.")
@click.option(
    "--output",
    **FILE,
    required=True,
    help="The file to write: .onnx, .tflite, .keras, .xml (OpenVINO), or .zip, a bundle for our own use.",
)
@click.option("--precision", type=click.Choice(["float32", "float16", "int8"]), help="Of the weights. [float32]")
@options(DECISIONS[:1])
@click.option(
    "--reject",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Share of known pictures that the limit for unknown ones keeps. [0.95 where the model can reject]",
)
@click.option("--data", **FOLDER, help="Pictures to prove the export on, where those of the training are gone.")
@click.option("--weights", **FILE, help="Weights of the backbone. [those of the training]")
@options(CACHE)
def export(model: str, output: str, **chosen: Any) -> None:
    """Write a trained model as one file for another runtime, and prove it there.

    Pixels go in, probabilities come out: the backbone and the head in one graph. Beside the file lie FILE.json, which
    says what it is, and FILE.py, which classifies pictures with it, numpy, Pillow and the runtime alone.
    """
    report = pipeline.export_model(model, output, **given(chosen))
    sizes = {path: os.path.getsize(path) for path in report.get("files", [output])}
    for path, size in sizes.items():
        print(f"{printable(path)}  ({size / 1e6:.2f} MB)" if size > 1e5 else printable(path))
    if "largest_difference" in report:
        print(
            f"largest difference {report['largest_difference']:.2g}, equal labels {report['equal_labels']:.1%}, "
            f"on {report['pictures']} {report['pictures_from']}"
        )


@click.command(epilog=examples("serve --model models/logreg.joblib"))
@click.option("--model", **FILE, required=True, help="The saved model.")
def serve(**chosen: Any) -> None:
    """Answer pictures that come by HTTP, and show a page to try it."""
    pipeline.create_app(**chosen)
