"""Names and numbers as the report shows them: nothing invisible, nothing that turns the line around."""

import unicodedata

JOINERS = "\u200c\u200d"  # between letters of Persian or parts of an emoji: part of how a name is written
INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # general categories of Unicode


def printable(text: str) -> str:
    """`text` with every invisible character as its escape, as Python writes it: "\\u202e", and "\\xff" of a file name.

    Bytes of a file name that are no UTF-8 are surrogates in Python (PEP 383), which no UTF-8 file can hold.
    """
    return "".join(_visible(c) for c in text)


def _visible(c: str) -> str:
    if unicodedata.category(c) not in INVISIBLE or c in JOINERS:
        return c
    if "\udc80" <= c <= "\udcff":
        return f"\\x{ord(c) - 0xDC00:02x}"
    return c.encode("unicode_escape").decode()


def percent(share: float) -> str:
    """ "98.8%"; all and nothing are said of nothing else: 0.9999 is ">99.9%"."""
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
    inside = folder.rstrip("/") + "/"
    return printable(path[len(inside) :] if folder and path.startswith(inside) else path)
