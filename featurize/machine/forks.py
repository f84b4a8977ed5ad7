"""What a process may do with the engines when it was forked from one that had used them.

Threads end with a fork, and whoever waits for one then waits for ever. OpenVINO can start anew in the child, unless
another thread was at work in it at that moment and left locks behind: of 60 children forked while models were
compiled, 3 hung, of 80 forked otherwise none (openvino 2026.4.1). TensorFlow hangs whenever it has computed before.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cache.errors import UserError

ADVICE = (
    "start workers with multiprocessing's 'spawn', or fork before anything is computed; pictures in the cache need no "
    "engine"
)


@contextmanager
def at_work() -> Iterator[None]:
    """Mark that this thread builds or uses an engine in the body."""
    me = threading.get_ident()
    _at_work.append(me)  # lists, as dictionaries, need no lock, which a child could inherit locked
    try:
        yield
    finally:
        _at_work.remove(me)


def check_openvino() -> None:
    """Raise UserError in a process where OpenVINO would hang."""
    if _lost["openvino"]:
        raise UserError(f"this process was forked while another thread computed: OpenVINO would hang here; {ADVICE}")


def check_tensorflow() -> None:
    """Raise UserError in a process where TensorFlow would hang."""
    if _lost["tensorflow"]:
        raise UserError(f"this process was forked from one that had used TensorFlow, which would hang here; {ADVICE}")


def _note_in_child() -> None:
    me = threading.get_ident()
    others = [thread for thread in _at_work if thread != me]
    _at_work[:] = [me] * (len(_at_work) - len(others))
    _lost["openvino"] |= bool(others)
    _lost["tensorflow"] |= bool(others) or _tensorflow_has_started()


def _tensorflow_has_started() -> bool:
    module = sys.modules.get("tensorflow.python.eager.context")
    context = module and module.context_safe()
    if context is None:
        return False
    devices = context._physical_devices or []  # to look for a GPU is enough to lose it in the child
    return bool(context._initialized or any(device.device_type == "GPU" for device in devices))


_at_work: list[int] = []  # identifiers of the threads within `at_work`, once for each
_lost = {"openvino": False, "tensorflow": False}  # whether an engine would hang in this process
os.register_at_fork(after_in_child=_note_in_child)
