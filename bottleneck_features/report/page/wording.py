"""Names and numbers as the report shows them: nothing invisible, nothing that turns the line around."""

import os

from bottleneck_features.terminal.safe_text import escape

JOINERS = "\u200c\u200d"  # between letters of Persian or parts of an emoji: part of how a name is written


def printable(text: str) -> str:
    """`text` with every invisible character as its escape: "\\u202e", and "\\xff" of a name that is no UTF-8."""
    return "".join(c if c.isprintable() or c in JOINERS else escape(c) for c in text)


def percent(share: float) -> str:
    """ "98.8%". Only 0 is "0.0%" and only 1 is "100.0%": 0.9999 is ">99.9%"."""
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def count(number: int, noun: str = "picture", nouns: str = "") -> str:
    """ "1 picture", "1,200 pictures"."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def below(folder: str, path: str) -> str:
    """The printable path, without the folder of the data where it lies below that."""
    inside = os.path.join(folder, "")
    return printable(path[len(inside) :] if folder and path.startswith(inside) else path)
