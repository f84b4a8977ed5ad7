"""export, serve, review: a saved model leaves the project or answers others; a page to label photographs on."""

import os
import sys
from typing import Any

import click

import pipeline
from bottleneck_features.commands.command_options import (
    CACHE,
    DATA,
    DECISIONS,
    FILE,
    FOLDER,
    SPEC,
    examples,
    given,
    options,
)
from bottleneck_features.terminal.safe_text import printable
from cache.errors import UserError
from featurize.pictures.recipes import MOST_VIEWS
from featurize.spec_options import ENGINES

TOKEN = "BOTTLENECK_TOKEN"  # in the environment, where no list of processes shows it
QUEUES = ("start", "ask", "confirm", "doubt", "mistakes", "unknown", "search")  # of the page of `review`


@click.command(
    epilog=examples(
        "export --model models/logreg.joblib --output animals.onnx",
        "export --model models/logreg.joblib --output animals.tflite --precision int8",
    )
)
@click.option("--model", **FILE, help="The saved model. [models/logreg.joblib]")
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
def export(model: str | None, output: str, **chosen: Any) -> None:
    """Write a trained model as one file.

    For another runtime, and proven there.

    Pixels go in, probabilities come out: the backbone and the head in one graph. Beside the file lie FILE.json, which
    says what it is, and FILE.py, which classifies pictures with it, numpy, Pillow and the runtime alone.
    """
    report = pipeline.export_model(model or pipeline.default_model("logreg"), output, **given(chosen))
    sizes = {path: os.path.getsize(path) for path in report.get("files", [output])}
    for path, size in sizes.items():
        print(f"{printable(path)}  ({size / 1e6:.2f} MB)" if size > 1e5 else printable(path))
    distance = report.get("largest_distance_difference")
    of_distance = "" if distance is None else f", of a distance {distance:.2g}"
    print(
        f"largest difference of a probability {report['largest_difference']:.2g}{of_distance}, "
        f"equal labels {report['equal_labels']:.1%}, on {report['pictures']} {report['pictures_from']}"
    )


@click.command(
    epilog=examples("serve --model models/logreg.joblib", "serve --model animals.zip --host 0.0.0.0 --token SECRET")
)
@click.option("--model", **FILE, help="The saved model, or a bundle. [models/logreg.joblib]")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one.")
@click.option("--token", metavar="TEXT", envvar=TOKEN, help="Answer nobody without it. [$BOTTLENECK_TOKEN]")
@click.option(
    "--allow-host", "hosts", metavar="NAME", multiple=True, help="Name under which it is reached; repeatable."
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes, each with the model.")
@click.option("--isolate", is_flag=True, help="Decode in processes of their own, which a picture may crash.")
@click.option("--engine", type=click.Choice(ENGINES), help="What computes. [auto: openvino where installed]")
@click.option("--cache-dir", **FOLDER, help="Cache whose converted networks are read. [that of the training]")
@click.option("--weights", **FILE, help="Weights of the backbone. [those of the training]")
@click.option("--allow-other-versions", is_flag=True, default=None, help="Load a model of another scikit-learn.")
@click.option("--sha256", metavar="HEX", help="Load nothing but the file of this digest.")
@click.option("--no-pickle", is_flag=True, default=None, help="Unpickle nothing: refuse a model without plain arrays.")
@click.option("--predict-views", type=click.IntRange(1, MOST_VIEWS), help="Views of a picture. [as trained]")
@click.option("--max-body", type=click.IntRange(1024), metavar="BYTES", help="Of a request. [64 MiB]")
@click.option(
    "--max-pixels",
    type=click.IntRange(1),
    metavar="COUNT",
    help="Of a picture. [178,956,970, no JPEG half]",
)
@click.option("--max-pictures", type=click.IntRange(1), metavar="COUNT", help="Of a request. [64]")
@click.option("--max-queue", type=click.IntRange(1), metavar="COUNT", help="Pictures that wait. [512]")
@click.option("--max-client", type=click.IntRange(1), metavar="COUNT", help="Requests of an address at once. [64]")
@click.option("--max-connections", type=click.IntRange(1), metavar="COUNT", help="That are open. [12,000]")
@click.option("--max-seconds", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="For an answer. [30]")
def serve(model: str | None, host: str, port: int, workers: int, **chosen: Any) -> None:
    """Answer pictures that come by HTTP, and show a page to try it.

    SIGTERM and Ctrl-C answer what is in flight, then end it. SIGHUP puts the model's file in place anew.
    """
    if os.environ.get(TOKEN) == "":
        raise UserError(f"${TOKEN} is empty: put a token into it, or unset it to answer anybody")
    from bottleneck_features.web.transport.run_server import run_server

    sys.exit(run_server(model or pipeline.default_model("logreg"), host, port, workers, given(chosen)))


@click.command(epilog=examples("review --data photos", "review --data photos --labels mine.csv --adopt"))
@options(DATA, SPEC, CACHE)
@click.option("--labels", **FILE, default="labels.csv", show_default=True, help="The table that every label goes to.")
@click.option("--adopt", is_flag=True, help="Take what the folders of the pictures say as labels first.")
@click.option("--adopt-table", **FILE, help="Take the labels of this table (path, label) first.")
@click.option("--model", **FILE, help="Where `Train and save` puts the model. [models/logreg.joblib]")
@click.option("--export", "folders", **FOLDER, help="Write folders of classes there instead of the page.")
@click.option("--links", is_flag=True, help="Export links to the pictures, not copies.")
@click.option("--queue", type=click.Choice(QUEUES), help="What the page shows first. [ask; start without labels]")
@click.option("--search", metavar="TEXT", help="Show pictures with this in their name or label first.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page. [a free one]")
@click.option("--no-browser", is_flag=True, help="Print the address alone.")
def review(
    labels: str,
    adopt: bool,
    adopt_table: str | None,
    model: str | None,
    folders: str | None,
    links: bool,
    queue: str | None,
    search: str | None,
    port: int,
    no_browser: bool,
    **chosen: Any,
) -> None:
    """Label photographs on a page.

    It shows what the model thinks of all of them.

    Every label is kept in a table as it is given; pictures are never touched. Without --data: the photographs of
    surfaces that come with scikit-image.
    """
    from classify.data.default_data import given_or_surfaces

    spec: Any = given(chosen)
    data, cache_dir = given_or_surfaces(spec.pop("data", None), {}), spec.pop("cache_dir", pipeline.DEFAULT_CACHE)
    if links and not folders:
        raise UserError("--links says how pictures are exported: give --export FOLDER as well")
    if folders:
        _export(data or "", labels, folders, links)
        return
    from bottleneck_features.review.review_folder import review_folder
    from bottleneck_features.review.train_and_save import Project

    project = Project(data or "", labels, cache_dir, model or pipeline.default_model("logreg"), spec)
    opens = {"queue": "search", "text": search} if search else {"queue": queue} if queue else {}
    review_folder(project, adopt, adopt_table, port, not no_browser, opens)


def _export(data: str, labels: str, folders: str, links: bool) -> None:
    from bottleneck_features.review.folders import export_folders
    from classify.labelling.label_log import labels_of

    done = export_folders(data, labels_of(labels), folders, "links" if links else "copies")
    pictures = "1 picture" if done.written == 1 else f"{done.written} pictures"
    print(f"{pictures} in folders of classes in {printable(folders)}")
