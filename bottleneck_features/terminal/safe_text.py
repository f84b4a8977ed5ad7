"""Text for a terminal: names of files and classes may hold anything, even commands to the terminal."""


def printable(text: str) -> str:
    """`text` with every character that could do something else than show itself as its escape: ESC is \\x1b.

    The bytes of a name that is no UTF-8 stay (lone surrogates, see `os.fsdecode`), but for 0x80 to 0x9f, which some
    terminals obey.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or "\udca0" <= c <= "\udcff" else escape(c) for c in text)


def escape(character: str) -> str:
    """A character as Python writes it, "\\u202e"; a byte of a name that is no UTF-8 (PEP 383) as "\\xff"."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
