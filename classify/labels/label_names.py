"""The text of a label: one spelling for whatever looks the same."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from functools import lru_cache

from cache.errors import log
from featurize.pictures.sources import nfc

JOINERS = "\u200c\u200d"  # ZERO WIDTH NON-JOINER and JOINER
VIRAMA = 9  # canonical combining class of the sign that joins two consonants of an Indian script
CURSIVE = ("MONGOLIAN", "NKO", "ADLAM", "PHAGS-PA")  # beside those whose letters are bidirectional class AL
SHOWN_PAIRS = 5

# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) without the joiners, variation selectors and tags,
# which stay where they mean something; and control characters that are no white space.
IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000\U000e0001"
    "\x01-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"
)
SELECTORS = re.compile("[\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
SURROGATES = re.compile("[\ud800-\udfff]")
TAGS = re.compile("[\U000e0020-\U000e007f]")
FLAG = "\U0001f3f4"  # the black flag that tags turn into that of a region


def printable(name: str) -> str:
    """A name as text that can be printed and saved: bytes of a file's name that are no UTF-8 become "\\xff"."""
    return SURROGATES.sub(_escaped, name)


@lru_cache(2**16)
def label_of(name: str) -> str:
    """The label that `name` (of a folder, in a file's name, in a table) spells.

    Its letters are composed (NFC), runs of white space of any kind are one space, there is none at the ends, and what
    cannot be seen is gone: zero-width characters, byte order marks, soft hyphens, marks of direction. Joiners stay
    inside words of scripts that need them, and in emoji. Empty where nothing is left.
    """
    text = printable(name)
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    while (cleaned := _cleaned(text)) != text:  # what goes may bring characters together that are composed
        text = cleaned
    return text


def announce_one_class(spelled: set[str], of: str) -> None:
    """Say which of the names `spelled`, those `of` folders for example, are spellings of one label."""
    spellings = defaultdict(set)
    for name in spelled:
        spellings[label_of(name)].add(name)
    for label, names in sorted(spellings.items()):
        if len(names) > 1:
            log.warning(
                "%s %s are one class, %r: they differ only in Unicode form, invisible characters or white space",
                of,
                " and ".join(ascii(name) for name in sorted(names)),
                label,
            )


def announce_alike(labels: Iterable[str]) -> None:
    """Say which labels differ only in case, white space, hyphens and underscores: they stay classes of their own."""
    by_letters = defaultdict(list)
    for label in sorted(set(labels)):
        by_letters[re.sub(r"[\s_-]+", "", label).casefold()].append(label)
    alike = [group for group in by_letters.values() if len(group) > 1]
    for group in alike[:SHOWN_PAIRS]:
        log.warning(
            "the classes %s differ only in case, white space or hyphens: they stay %d classes",
            " and ".join(repr(label) for label in group),
            len(group),
        )
    if len(alike) > SHOWN_PAIRS:
        log.warning("so do the classes of %d more groups", len(alike) - SHOWN_PAIRS)


def _escaped(surrogate: re.Match[str]) -> str:
    c = surrogate[0]  # those of bytes after PEP 383
    return f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else ascii(c)[1:-1]


def _cleaned(text: str) -> str:
    text = IGNORABLE.sub("", nfc(text))
    kept = (c for at, c in enumerate(text) if _is_needed(c, text[at - 1 : at], text[at + 1 : at + 2]))
    return nfc(" ".join("".join(kept).split()))


def _is_needed(c: str, before: str, after: str) -> bool:
    """Whether a character means anything where it stands."""
    if c in JOINERS:
        return bool(before and after) and _is_joined(before, after)
    if SELECTORS.match(c):  # picks a form of the symbol or letter before; there is none of Latin letters or spaces
        return bool(before) and unicodedata.category(before) in ("So", "Sm", "Sk", "Po", "Nd", "Lo")
    if TAGS.match(c):
        return before == FLAG or bool(TAGS.match(before))
    return True


def _is_joined(before: str, after: str) -> bool:
    """Whether a joiner between two characters changes how they are written.

    After RFC 5892, appendix A: beside a virama, and between letters of cursive scripts; and between emoji.
    """
    both = (before, after)
    return VIRAMA in map(unicodedata.combining, both) or all(map(_is_cursive, both)) or all(map(_is_symbol, both))


def _is_cursive(c: str) -> bool:
    return unicodedata.bidirectional(c) in ("AL", "NSM") or unicodedata.name(c, "").startswith(CURSIVE)


def _is_symbol(c: str) -> bool:
    return unicodedata.category(c) in ("So", "Sk", "Sm") or SELECTORS.match(c) is not None
