"""The command line: `python -m bottleneck_features`, `python -m pipeline` and the console script `bottleneck`.

This comes before all other imports: a signal during them ends the process without a traceback.
"""

import os
import signal
import sys

for _name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
    _number = getattr(signal, _name, None)  # Windows has no SIGHUP, other systems no SIGBREAK
    if _number and signal.getsignal(_number) != signal.SIG_IGN:  # by nohup, or for a job in the background
        signal.signal(_number, lambda number, _frame: os._exit(128 + number))


def main() -> None:
    """Run the command line and exit with its status."""
    try:
        import bottleneck_features.own_packages  # noqa: F401  # refuses a file of the user that hides one of ours
    except ImportError as error:
        sys.exit(f"error: {error}")
    from bottleneck_features.commands.main import main

    main()


if __name__ == "__main__":
    main()
