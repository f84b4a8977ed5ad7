"""The command line: `python -m bottleneck_features`, `python -m pipeline` and the console script `bottleneck`.

This comes before all other imports: a signal during them ends the process without a traceback.
"""

import os
import signal

for _name in ("SIGINT", "SIGTERM", "SIGHUP"):
    if signal.getsignal(getattr(signal, _name)) != signal.SIG_IGN:  # by nohup, or for a job in the background
        signal.signal(getattr(signal, _name), lambda number, _frame: os._exit(128 + number))


def main() -> None:
    """Run the command line and exit with its status."""
    from bottleneck_features.commands.main import main

    main()


if __name__ == "__main__":
    main()
