"""Entry point of the command line: messages, errors, exit codes.

Results go to stdout, messages and progress to stderr. Exit status: 0; 1 when too many images failed, something
was lost or a file cannot be written; 2 for what another command line would mend; 128 and its number after a signal
(130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP).
"""

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from bottleneck_features.commands import deploy_commands, model_commands, train_commands
from bottleneck_features.commands.cache_commands import cache
from bottleneck_features.commands.demo_command import demo
from bottleneck_features.commands.signals import Stop
from bottleneck_features.terminal.safe_text import printable
from cache.errors import UserError, log, naming_packages
from cache.files.standard_streams import open_standard_streams


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="bottleneck-features")
def cli() -> None:
    """Every image passes a frozen CNN once; everything after that reads the cache."""


for _command in (
    demo, train_commands.features, train_commands.train, train_commands.compare, model_commands.evaluate,
    model_commands.predict, model_commands.report, deploy_commands.export, deploy_commands.serve,
    deploy_commands.review, cache,
    train_commands.distil,
):  # fmt: skip
    cli.add_command(_command)


class _Lines(logging.Handler):
    """One line a message, to the stderr of that moment: a progress bar replaces it while it is shown.

    Warnings wait for the end, each once, where a person looks for the result; those of `cache.errors.AT_ONCE` do not.
    An error is the last line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, None] | None = {}

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = level + printable(" ".join(record.getMessage().splitlines()))
        waits = record.levelno == logging.WARNING and not getattr(record, "at_once", False)
        if waits and self._waiting is not None:
            self._waiting[line] = None
            return
        if record.levelno > logging.WARNING:
            self.show_warnings()
        self._print(line)

    def show_warnings(self) -> None:
        """Print the warnings that wait, below what is on stdout; from now on none waits."""
        waiting, self._waiting = self._waiting or {}, None
        if waiting:
            with contextlib.suppress(OSError, ValueError):  # nobody reads on
                sys.stdout.flush()
        for line in waiting:
            self._print(line)

    @staticmethod
    def _print(line: str) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone: the computation goes on
            print(line, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    run(cli, "python -m pipeline", arguments)


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command under its name, by default with this program's arguments, and exit with its status.

    What the package logs, its errors and signals come out as they do in every command.
    """
    open_standard_streams()
    lines = _Lines()
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    log.propagate = False
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # file names need not be UTF-8
    with Stop() as stop:
        try:
            status = _status(command, name, sys.argv[1:] if arguments is None else arguments, stop)
        except SystemExit:  # a command's own status
            lines.show_warnings()
            raise
        except (Exception, KeyboardInterrupt) as error:  # a signal during an import may become any exception
            lines.show_warnings()
            if not stop.number:
                raise
            stop.exit(error)
        lines.show_warnings()
    sys.exit(status)


def _status(command: click.Command, name: str, arguments: Sequence[str], stop: Stop) -> int:
    try:
        # As click's own `main`, which turns every interruption into the same exception, without what it says.
        with naming_packages(), command.make_context(name, list(arguments)) as context:
            return command.invoke(context) or 0
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except (click.ClickException, UserError) as error:
        log.error("%s", error.format_message() if isinstance(error, click.ClickException) else error)
        return 2
    except BrokenPipeError:  # `predict | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if stop.number and not error.filename:  # not of a file, but of the terminal that is gone
            raise
        where = f": {os.fsdecode(error.filename)}" if error.filename else ""
        log.error("%s%s", error.strerror or error, where)
        return 1
