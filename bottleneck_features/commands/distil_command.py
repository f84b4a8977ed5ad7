"""distil: a small backbone of one's own, from a folder of photographs and a large backbone."""

import json
from typing import Any

import click

from bottleneck_features.commands.check_places import check_places
from bottleneck_features.commands.command_options import CACHE, TEACHER, examples, given, options
from bottleneck_features.terminal.progress import progress_reporter
from cache.files.atomic import write_atomically
from featurize.outputs import named
from pipeline import DEFAULT_CACHE


@click.command(
    epilog=examples(
        "distil --data photographs --output small.keras",
        "distil --data photographs --backbone resnet50 --layer conv5_block3_out --output small.keras",
        "train --data photos --backbone small.keras",
    )
)
@click.option("--data", required=True, metavar="FOLDER", help="Folder of photographs, the more varied the better.")
@click.option("--output", required=True, metavar="FILE", help="The student, a .keras file; its work folder beside it.")
@options(TEACHER, CACHE)
@click.option("--crops", type=click.IntRange(1), default=8, show_default=True, help="Crops of each photograph.")
@click.option("--samples", type=click.IntRange(1), default=3_000_000, show_default=True, help="Crops to learn from.")
@click.option("--side", type=click.IntRange(32, 512), default=96, show_default=True, help="Of the student's input.")
@click.option("--json", "json_file", metavar="FILE", help="Write the report there as JSON.")
def distil(json_file: str | None, cache_dir: str | None, **chosen: Any) -> None:
    """Teach a small network to imitate a large backbone; --backbone, --weights, --layer and --size are the teacher's.

    Takes hours on a laptop. What is interrupted goes on from there when the same command is given again.
    """
    from featurize.distil.distil import distil as run
    from featurize.distil.distil import written_beside

    check_places(
        named("--output", chosen["output"]) + named("--json", json_file),
        chosen | {"cache_dir": cache_dir},
        writes=named("its work folder", *written_beside(chosen["output"])),
    )
    with progress_reporter() as progress:
        report = run(cache_dir=cache_dir or DEFAULT_CACHE, progress=progress, **given(chosen))
    if json_file:
        write_atomically(json_file, json.dumps(report, indent=2).encode())
    print("photographs {photographs}, crops {crops}; forward passes {forward_passes}".format(**report))
    print("samples {samples}; cosine on photographs left out {held_out_cosine:.3f}".format(**report))
    print("parameters {parameters}; use it with --backbone {model}".format(**report))
