"""Import Keras on TensorFlow, without TensorFlow's start-up noise, and refuse settings that would change features."""

import contextlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from cache.errors import UserError
from cache.files.standard_streams import open_standard_streams
from featurize.engines.engine import check_tensorflow

# What TensorFlow's C++ side writes to file descriptor 2 while it starts: "I0000 00:00:17... file.cc:31] ...",
# "2026-01-31 ...: W external/...", and their fixed companions.
NOISE = re.compile(
    rb"[IWE]\d{4} \d\d:|\d{4}-\d\d-\d\d [\d:.]+: [IWE] |WARNING: All log messages before absl::|"
    rb"To enable the following instructions:|INFO: Created TensorFlow Lite XNNPACK delegate|"
    rb"INFO:tensorflow:|WARNING:tensorflow:"
)


def import_keras() -> ModuleType:
    """The `keras` module on TensorFlow, imported silently at the first call.

    Raises UserError where Keras is set, by `keras.json` or by the calling program, to another backend, to
    channels_first or to another float type: the same image would give other features. Raises it also in a process
    forked from one that had used TensorFlow.
    """
    check_tensorflow()
    # If the user has set a level, the user wants to see the messages.
    quiet = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") in ("2", "3")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "tensorflow"
    first = "tensorflow" not in sys.modules
    open_standard_streams()  # TensorFlow prints from C
    with without_noise() if first and quiet else contextlib.nullcontext():
        import keras
        import tensorflow

        if first:
            # TensorFlow complains about a missing or unfit GPU driver when it first looks for devices.
            tensorflow.config.list_physical_devices()
            tensorflow.get_logger().setLevel(logging.ERROR)
    _check_settings(keras)
    return keras


def _check_settings(keras: ModuleType) -> None:
    for what, found, needed in (
        ("backend", keras.config.backend(), "tensorflow"),
        ("image_data_format", keras.config.image_data_format(), "channels_last"),
        ("floatx", keras.config.floatx(), "float32"),
        ("dtype policy", keras.config.dtype_policy().name, "float32"),
    ):
        if found != needed:
            raise UserError(
                f"Keras is set to {what} {found!r}, which would give other features: set it to {needed!r} "
                "in ~/.keras/keras.json or in the program that set it"
            )


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers that this thread makes in the body compute in `precision`, a dtype policy of Keras.

    `import_keras` refuses such a setting, as it would a user's: call it before.
    """
    import keras

    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(usual)


@contextlib.contextmanager
def without_noise() -> Iterator[None]:
    """Hold back what is written to file descriptor 2, then pass on all but the lines of NOISE.

    The lines come from C++, past `sys.stderr`. Nothing else is lost: other lines arrive late.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held.seek(0)
            for line in held:
                if not NOISE.match(line):
                    os.write(2, line)
