"""A process may be started without stdin, stdout or stderr: `>&-` in a shell, pythonw, a service."""

import os
import sys


def open_standard_streams() -> None:
    """Open on nothing those that this process lacks: what is printed there is dropped.

    Else Python has None in their place, and the next file that is opened takes their number, so that what a library
    prints from C is written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number that is free
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - for as long as the process lives
