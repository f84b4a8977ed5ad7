import json
import os
import subprocess
import sys

import pytest

from cache.errors import UserError
from featurize.engines.keras_import import import_keras, without_noise

USE = """
import numpy
from featurize.engines.keras_import import import_keras
keras = import_keras()
assert keras.config.backend() == "tensorflow"
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
model.predict(numpy.zeros((2, 8, 8, 3)), verbose=0)
import tensorflow
tensorflow.function(model)(tensorflow.zeros((2, 8, 8, 3)))
"""


def run(code, **environment):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "KERAS_"))}
    environment = inherited | environment
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def set_in_json(folder, **setting):
    usual = {"floatx": "float32", "epsilon": 1e-07, "backend": "tensorflow", "image_data_format": "channels_last"}
    (folder / "keras.json").write_text(json.dumps(usual | setting))


def test_nothing_is_printed_by_a_fresh_process_nor_by_its_worker_that_inherits_the_environment(tmp_path):
    set_in_json(tmp_path, backend="jax")  # of no consequence: this package chooses the backend itself
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {USE!r}], check=True)\n" + USE
    done = run(code, KERAS_HOME=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_level_that_the_user_set_is_left_alone():
    assert "cpu_feature_guard" in run(USE, TF_CPP_MIN_LOG_LEVEL="0").stderr


def test_other_lines_than_the_noise_are_passed_on(capfd):
    with without_noise():
        os.write(2, b"I0000 00:00:1795336324.776738    5694 port.cc:153] oneDNN custom operations are on.\n")
        os.write(2, b"E0000 00:00:1795336557.397312    5906 cuda_platform.cc:52] failed call to cuInit\n")
        os.write(2, b"2026-01-31 12:00:00.000001: W external/local_xla/xla/a.cc:1] no GPU\n")
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n")
        os.write(2, b"To enable the following instructions: AVX2, rebuild TensorFlow.\n")
        os.write(2, b"libcuda.so: cannot open shared object file\nInside 2026\n")
    assert capfd.readouterr().err == "libcuda.so: cannot open shared object file\nInside 2026\n"


def test_messages_are_passed_on_when_the_import_fails(capfd):
    with pytest.raises(ImportError), without_noise():
        os.write(2, b"version GLIBC_9 not found\n")
        raise ImportError("libtensorflow_framework.so.2")
    assert capfd.readouterr().err == "version GLIBC_9 not found\n"


def test_keras_json_does_not_change_the_features_silently(tmp_path):
    set_in_json(tmp_path, image_data_format="channels_first")
    done = run("from featurize.engines.keras_import import import_keras; import_keras()", KERAS_HOME=str(tmp_path))
    assert done.returncode == 1
    assert "UserError: Keras is set to image_data_format 'channels_first'" in done.stderr.splitlines()[-1]


def test_settings_of_the_calling_program_are_refused():
    keras = import_keras()
    for setter, wrong, right in (
        (keras.config.set_image_data_format, "channels_first", "channels_last"),
        (keras.config.set_floatx, "float64", "float32"),
        (keras.config.set_dtype_policy, "mixed_float16", "float32"),
    ):
        setter(wrong)
        try:
            with pytest.raises(UserError, match=wrong):
                import_keras()
        finally:
            setter(right)
    assert import_keras() is keras
