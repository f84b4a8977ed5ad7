"""The one exception for everything that the person at the keyboard can mend."""


class UserError(ValueError):
    """One line: what is wrong, the offending value, and what to do about it.

    The command line prints the line and exits with status 2; callers from Python can catch it as `ValueError`.
    """
