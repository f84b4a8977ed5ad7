"""export, serve: a saved model leaves the project, or answers others."""

from typing import Any

import click

import pipeline
from bottleneck_features.commands.command_options import FILE, examples
from bottleneck_features.terminal.safe_text import printable


@click.command(epilog=examples("export --model models/logreg.joblib --output animals.onnx"))
@click.option("--model", **FILE, required=True, help="The saved model.")
@click.option("--output", **FILE, required=True, help="The file to write; its suffix says the format.")
def export(model: str, output: str) -> None:
    """Write a trained model as one file for another runtime, and prove it there."""
    report = pipeline.export_model(model, output)
    print(printable(str(report)))


@click.command(epilog=examples("serve --model models/logreg.joblib"))
@click.option("--model", **FILE, required=True, help="The saved model.")
def serve(**chosen: Any) -> None:
    """Answer pictures that come by HTTP, and show a page to try it."""
    pipeline.create_app(**chosen)
