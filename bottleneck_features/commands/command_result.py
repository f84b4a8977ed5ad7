"""How a command ends: its report as JSON, the same on the terminal, the exit status."""

import json
import sys
from typing import Any

from bottleneck_features.terminal.result_summary import show_report
from cache.errors import log
from cache.files.atomic import write_atomically


def finish(report: dict[str, Any], json_file: str | None, max_failed: float) -> None:
    """Write and print a report; exit with status 1 where too many images failed."""
    write_json(json_file, report)
    show_report(report)
    exit_if_too_many_failed(report["failed"], report["images"], max_failed)


def write_json(json_file: str | None, report: dict[str, Any]) -> None:
    """Write a report, if `json_file` names where. Call it before printing, which may end early, as in `| head`."""
    if json_file:
        write_atomically(json_file, json.dumps(report, indent=2).encode())


def exit_if_too_many_failed(failed: int, images: int, max_failed: float) -> None:
    """Exit with status 1 where more than a share `max_failed` of the images failed."""
    if failed > max_failed * images:
        log.error("%d of %d images failed, more than --max-failed %g allows", failed, images, max_failed)
        sys.exit(1)
