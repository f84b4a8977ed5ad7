"""The decoder in a process of its own: requests on stdin, answers on stdout, until stdin ends. See `isolation`.

request  REQUEST, the inputs as JSON (a list for each, the fields of `NetworkInput`), the bytes of an image file
answer   ANSWER with READY, once; then for each request
         MEMORY and how many bytes it takes, to which one byte comes back when they may be taken (not for little; again
         if it comes to take more);
         PIXELS and how many bytes, and these: of each input pixels and signature, and then in UTF-8 note and changed
         of each, NULs between them;
         or REASON and how many bytes, and these, in UTF-8
"""

import sys

if sys.platform == "win32":
    raise ImportError("a process of Windows has no limits of memory and time")

import json
import os
import resource
import select
import signal
import struct
import threading

REQUEST = struct.Struct("<QI")  # bytes of the file, of the JSON
ANSWER = struct.Struct("<cQ")  # kind, count
READY, MEMORY, PIXELS, REASON = b"h", b"m", b"p", b"r"
LITTLE = 16 * 10**6  # bytes of memory that need not be asked for


def main() -> None:
    """Decode until stdin ends.

    Arguments: bytes of memory that this process may take, seconds for a picture, most pixels of one (0: any number).
    """
    memory, seconds, most_pixels = map(int, sys.argv[1:4])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else comes between
    requests = os.fdopen(0, "rb", closefd=False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    threading.Thread(target=_end_with_the_parent, daemon=True).start()

    import numpy as np

    from featurize.decoding.decode import NetworkInput
    from featurize.decoding.memory_gate import trim
    from featurize.pictures.find_images import ImageError
    from featurize.pictures.pixel_limit import decode_limited
    from featurize.pictures.sources import within_limit

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    def answer(kind: bytes, count: int, content: bytes | memoryview = b"") -> None:
        answers.write(ANSWER.pack(kind, count))
        answers.write(content)
        answers.flush()

    granted = LITTLE

    def reserve(size: int) -> None:
        nonlocal granted
        within_limit(size)
        if size > granted:
            granted = size
            signal.alarm(0)
            answer(MEMORY, size)
            requests.read(1)
            signal.alarm(seconds)

    def decoded(length: int, described: int) -> tuple[bytes, bytes | memoryview]:
        asked = json.loads(requests.read(described))
        data = requests.read(length)
        inputs = [NetworkInput((h, w), resize, tuple(views), version) for (h, w), resize, views, version in asked]
        signal.alarm(seconds)  # whose default is to end the process, in the middle of C code too
        try:
            found = decode_limited(data, inputs, reserve, most_pixels).values()
        except ImageError as error:
            return REASON, str(error).encode()
        finally:
            signal.alarm(0)
        arrays = (np.ascontiguousarray(part).reshape(-1).view(np.uint8).data for one in found for part in one[:2])
        texts = (text for one in found for text in (one.note, one.changed))
        return PIXELS, b"".join((*arrays, "\0".join(texts).encode()))

    answer(READY, 0)
    while header := requests.read(REQUEST.size):
        kind, content = decoded(*REQUEST.unpack(header))
        if (
            granted > LITTLE
        ):  # file and picture are gone now: their memory goes back before the parent lends it to others
            trim()
            granted = LITTLE
        answer(kind, len(content), content)


def _end_with_the_parent() -> None:
    # Whatever is being decoded: when nobody holds the other end of stdin any more, nobody waits for it.
    hang_up = select.poll()
    hang_up.register(0, 0)
    hang_up.poll()
    os._exit(0)
