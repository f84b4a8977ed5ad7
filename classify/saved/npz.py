"""Arrays in an npz file that nobody vouches for: nothing is unpickled, nor more memory taken than the file has."""

import io
import math
from tokenize import TokenError
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

MOST_ARRAYS = 16
LONGEST_HEADER = 500  # of an array, in bytes: numpy parses it as Python, which deep nesting exhausts
LAST_CHARACTER = 0x10FFFF  # of Unicode: numpy has a SystemError for others

# What zipfile and numpy raise for a file that is no archive, or not one that it can read.
NO_ARCHIVE = (
    BadZipFile,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    MemoryError,
    TypeError,
    SyntaxError,
    RecursionError,
    TokenError,
)


def write_arrays(named: dict[str, NDArray[Any]]) -> memoryview:
    """The arrays as an npz file, uncompressed. Raises ValueError for arrays of objects."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **named)
    return file.getbuffer()


def read_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of `write_arrays`. Raises ValueError for anything else.

    `numpy.load` is not used: it takes the memory that the header of an array asks for before it looks what is there,
    and it expands what is compressed, a thousandfold if need be.
    """
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MOST_ARRAYS or len({member.filename for member in members}) < len(members):
                raise ValueError(f"{len(members)} arrays, more than {MOST_ARRAYS} or two of one name")
            if sum(member.compress_size for member in members) > len(data):
                raise ValueError("arrays that share their bytes")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except NO_ARCHIVE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _array(archive: ZipFile, member: ZipInfo) -> NDArray[Any]:
    if member.compress_type != ZIP_STORED or member.file_size != member.compress_size:
        raise ValueError(f"{member.filename!r:.50} is compressed")
    file = io.BytesIO(archive.read(member))
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{member.filename!r:.50} has another format")
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(file, LONGEST_HEADER)
    content = file.getbuffer()[file.tell() :]
    if dtype.kind not in "biufU" or not dtype.isnative or not dtype.itemsize:
        raise ValueError(f"{member.filename!r:.50} is of type {dtype!s:.50}")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{member.filename!r:.50} has {len(content)} bytes, its shape {shape!s:.50} asks for others")
    if dtype.kind == "U" and (np.frombuffer(content, np.uint32) > LAST_CHARACTER).any():
        raise ValueError(f"{member.filename!r:.50} has characters that are none")
    array = np.frombuffer(content, dtype)
    return (array.reshape(shape[::-1]).T if by_column else array.reshape(shape)).copy(order="K")
