"""OpenVINO without its telemetry, which asks for www.google-analytics.com, writes below HOME, and forks to send.

OpenVINO takes a silent stub of its own where `openvino_telemetry` cannot be imported. Every import of OpenVINO in this
project goes through this file.
"""

import errno
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

TELEMETRY = "openvino_telemetry"
CONVERTER = "openvino.tools.ovc"  # the package whose modules hold the telemetry, each under the name `tm`


def import_openvino() -> ModuleType:
    """The `openvino` module; unless it was imported before, without its telemetry.

    Raises ImportError where OpenVINO is not installed.
    """
    if "openvino" not in sys.modules:
        with _importing, _not_to_be_imported(TELEMETRY):
            import openvino
    import openvino

    return openvino


def save_graph(model: Any, path: str, half: bool = False) -> None:
    """Write an openvino.Model to `path`, an .xml, and its weights, as float16 if `half`, to the .bin beside it.

    Raises OSError where they cannot be written, by a full disk too: of that OpenVINO raises a RuntimeError.
    """
    try:
        import_openvino().save_model(model, path, compress_to_fp16=half)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise OSError(errno.EIO, f"OpenVINO cannot write, is the disk full? ({said})", path) from error


@contextmanager
def silent_converter() -> Iterator[ModuleType]:
    """The `openvino` module, its converter silent for the body, also where the calling program imported OpenVINO.

    Withdrawing the consent to telemetry is not enough: each conversion asks for it anew.
    """
    openvino = import_openvino()
    from openvino.tools.ovc import telemetry_stub

    with _converting:
        modules: list[Any] = [module for name, module in list(sys.modules.items()) if name.startswith(CONVERTER)]
        before = [(module, module.tm) for module in modules if hasattr(module, "tm")]
        for module, _ in before:
            module.tm = telemetry_stub
        try:
            yield openvino
        finally:
            for module, telemetry in before:
                module.tm = telemetry


@contextmanager
def _not_to_be_imported(name: str) -> Iterator[None]:
    before = {name: sys.modules[name]} if name in sys.modules else {}
    sys.modules[name] = None  # type: ignore[assignment]  # Python's way to say so
    try:
        yield
    finally:
        del sys.modules[name]
        sys.modules.update(before)


# Of two threads at once, one would save the other's change as the original.
_importing = threading.Lock()
_converting = threading.Lock()
