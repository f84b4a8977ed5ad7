"""Where a person finds warnings: below the result, each once; above an error; at once what one may want to stop for."""

import subprocess
import sys

import pytest

COMMAND = """
import click
from bottleneck_features.commands.main import run
from cache.errors import AT_ONCE, UserError, log

@click.command()
@click.option("--fails", is_flag=True)
def command(fails):
    log.info("starting")
    log.warning("three pictures are left out")
    log.warning("random weights", extra=AT_ONCE)
    log.warning("three pictures are left out")
    print("accuracy  0.9")
    if fails:
        raise UserError("the disk is full")

run(command, "command")
"""


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            [],
            ["starting", "warning: random weights", "accuracy  0.9", "warning: three pictures are left out"],
        ),
        (
            ["--fails"],
            [
                "starting",
                "warning: random weights",
                "accuracy  0.9",
                "warning: three pictures are left out",
                "error: the disk is full",
            ],
        ),
    ],
)
def test_warnings_come_below_the_result_and_an_error_last(words: list[str], lines: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == lines
    assert done.returncode == (2 if words else 0)
