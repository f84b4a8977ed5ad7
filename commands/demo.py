"""demo: the whole job on photographs that come with scikit-image."""

import json

import click

from cache.atomic import write_atomically
from commands.options import CACHE, examples, options
from commands.outputs import check_places
from commands.progress import progress_reporter
from featurize.outputs import named
from pipeline import DEFAULT_CACHE


@click.command(epilog=examples("demo", "demo --json report.json"))
@options(CACHE)
@click.option("--json", "json_file", metavar="FILE", help="Write the report there as JSON.")
def demo(cache_dir: str | None, json_file: str | None) -> None:
    """Which surface is it? Train on the left halves of thirteen photographs, test on the right halves.

    Needs no network and no data: writes crops of photographs that come with scikit-image to surfaces/, and compares
    raw pixels, the backbone nano with random weights, and nano as features of one and the same classifier.
    """
    from classify.model_files import written_by_training
    from classify.surfaces import FOLDER
    from demo.run import MODEL, PICTURE, run_demo

    written = written_by_training(MODEL) + named("the picture", PICTURE)
    check_places(named("--json", json_file), {"data": FOLDER, "cache_dir": cache_dir}, writes=written)
    with progress_reporter() as progress:
        report = run_demo(cache_dir or DEFAULT_CACHE, progress)
    if json_file:  # first: printing may end early, in `| head`
        write_atomically(json_file, json.dumps(report, indent=2).encode())
    print("{} classes; crops: {train} to train on, {test} to test on".format(len(report["classes"]), **report))
    print()
    print(f"{'features':25} {'accuracy':>8}   {'95% interval':16} {'seconds':>7}")
    for row in report["rows"]:
        low, high = row["accuracy_interval"]
        print(f"{row['features']:25} {row['accuracy']:8.4f}   {low:.4f} to {high:.4f} {row['seconds']:7.1f}")
    print()
    for prediction in report["predictions"]:
        ranked = ", ".join(f"{label} {probability:.3f}" for label, probability in prediction["ranked"])
        print(f"{prediction['path']}: {ranked}")
    print()
    print("right {right} of {test}, some of them and of the others in {picture}".format(**report))
    print("model  {model}".format(**report))
    print("seconds  {seconds:.1f}".format(**report))
