"""demo: the whole job on photographs that come with scikit-image."""

import click

from bottleneck_features.commands.command_files import require_outputs
from bottleneck_features.commands.command_options import CACHE, JSON, examples, options
from bottleneck_features.commands.command_result import write_json
from bottleneck_features.terminal.progress import progress_reporter
from featurize.outputs import named
from pipeline import DEFAULT_CACHE

ROW = "{features:38} {accuracy:8.4f}   {accuracy_interval[0]:.4f} to {accuracy_interval[1]:.4f} {seconds:7.1f}"


@click.command(epilog=examples("demo", "demo --json report.json"))
@options(CACHE, JSON)
def demo(cache_dir: str | None, json_file: str | None) -> None:
    """Show the whole job: which surface is it?

    Trains on the left halves of thirteen photographs, tests on the right halves. Needs no network and no data: writes
    crops of photographs that come with scikit-image to surfaces/, and compares raw pixels, the default backbone with
    random weights, and the same pretrained, as features of one and the same classifier.
    """
    from bottleneck_features.demo.run_demo import MODEL, PICTURE, run_demo
    from classify.data.surfaces import FOLDER
    from classify.saved.model_files import written_by_training

    written = written_by_training(MODEL) + named("the picture", PICTURE)
    require_outputs(named("--json", json_file), {"data": FOLDER, "cache_dir": cache_dir}, writes=written)
    with progress_reporter() as progress:
        report = run_demo(cache_dir or DEFAULT_CACHE, progress)
    write_json(json_file, report)
    rows = [ROW.format(**row) for row in report["rows"]]
    predictions = [
        f"{each['path']}: " + ", ".join(f"{label} {probability:.3f}" for label, probability in each["ranked"])
        for each in report["predictions"]
    ]
    lines = [
        "{train} crops of {} photographs to train on, {test} others to test on:".format(
            len(report["classes"]), **report
        ),
        "they stand for photographs of your own, sorted into one folder for each kind of thing",
        "",
        f"{'features':38} {'accuracy':>8}   {'95% interval':16} {'seconds':>7}",
        *rows,
        "",
        *predictions,
        "",
        "right {right} of {test}; seconds {seconds:.1f}; model {model}".format(**report),
        "next: your own folder, python -m pipeline train --data FOLDER (or make train DATA=FOLDER)",
        "some right and wrong answers: {picture}".format(**report),
    ]
    print("\n".join(lines))
