"""Imported before all else: a signal while Python still imports ends the process without a traceback."""

import os
import signal

for _name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if signal.getsignal(getattr(signal, _name)) != signal.SIG_IGN:  # by nohup, or for a job in the background
        signal.signal(getattr(signal, _name), lambda number, _frame: os._exit(128 + number))


def main() -> None:
    """The command line."""
    from bottleneck_features.commands.main import main

    main()
