"""What is changed in the inputs of all targets: bytes, words, values of JSON; several parts in one input."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

EDGES = [0, 1, 2, 7, 8, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, float("inf"), float("nan"),
    "", "0", "a", "\x00", "\n", "\ud800", "é" * 40, "../" * 9, "/dev/null", "x" * 5000, [], [[]], {}, {"": 0}, [0] * 99,
]  # fmt: skip
WORDS = [
    b"",
    b"\x00",
    b"\n",
    b"\r",
    b'"',
    b",",
    b";",
    b"\t",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"-",
    b"..",
    b"*",
]


def changed(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """`data` with one change: bits, a number, a range cut, doubled or taken from one of the `others`."""
    result = bytearray(data or b"\0")
    at = random.randrange(len(result))
    end = min(len(result), at + random.choice([1, 2, 4, 8, 16, 64, 256]))
    match random.randrange(8):
        case 0 | 1:
            result[at] ^= 1 << random.randrange(8)
        case 2:
            size = random.choice([1, 2, 4, 8])
            number = random.choice(EDGES) % 256**size
            result[at : at + size] = number.to_bytes(size, random.choice(["little", "big"]))
        case 3:
            result[at] = random.randrange(256)
        case 4:
            del result[at:end]
        case 5:
            result[at:at] = random.choice([result[at:end], random.choice(WORDS), random.randbytes(end - at)])
        case 6:
            source = random.choice(others)
            begin = random.randrange(max(1, len(source)))
            result[at:end] = source[begin : begin + end - at]
        case _:
            del result[at:]
    return bytes(result)


def changed_json(value: Any, random: Random) -> Any:
    """A JSON value with one change somewhere within."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        rest = {name: item for name, item in value.items() if name != key}
        if random.random() < 0.15:
            return rest if random.random() < 0.5 else rest | {key + "_": value[key]}
        return value | {key: changed_json(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        if random.random() < 0.3:
            return random.choice([value[:at], value[at:], value + value])
        return [*value[:at], changed_json(value[at], random), *value[at + 1 :]]
    if isinstance(value, str) and value and random.random() < 0.5:
        return changed(value.encode(), random, [value.encode()]).decode(errors="surrogateescape")
    return random.choice(VALUES)


def to_bytes(value: Any) -> bytes:
    """A JSON value as a file holds it."""
    return json.dumps(value).encode()


def pack(parts: Sequence[bytes]) -> bytes:
    """Several parts as one input: each after its length."""
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def unpack(data: bytes, count: int | None = None) -> list[bytes]:
    """The parts of `pack`, of whatever bytes; `count` of them, missing ones empty."""
    parts = []
    while data and (count is None or len(parts) < count):
        size = int.from_bytes(data[:4], "little")
        parts.append(data[4 : 4 + size])
        data = data[4 + size :]
    return parts + [b""] * ((count or 0) - len(parts))
