"""demo: the whole job on photographs that come with scikit-image."""

import json

import click

from bottleneck_features.commands.check_places import check_places
from bottleneck_features.commands.command_options import CACHE, examples, options
from bottleneck_features.terminal.progress import progress_reporter
from cache.files.atomic import write_atomically
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
    from bottleneck_features.demo.whole_job import MODEL, PICTURE, run_demo
    from classify.data.surfaces import FOLDER
    from classify.saved.model_files import written_by_training

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
