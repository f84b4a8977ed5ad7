import contextlib
import functools
import hashlib
import http.server
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import skimage.data

import featurize.backbones.weights
from cache.errors import UserError
from featurize.backbones.backbone_table import find_backbone
from featurize.backbones.network import build_network
from featurize.backbones.weights import Weights, keras_folder, locate, pretrained, random_identity
from featurize.engines.keras_import import import_keras

SMALL = find_backbone("mobilenet_v3_small")  # the smallest network for which Keras has a hash
UNHASHED = find_backbone("mobilenet_v2_035")


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """A legacy .h5 file of MobileNetV3Small, as Keras downloads them, with weights of its own."""
    keras = import_keras()
    keras.utils.set_random_seed(7)
    network = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(64, 64, 3))
    path = tmp_path_factory.mktemp("weights") / "small.h5"
    network.save(path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty Keras folder of this test's own; Keras reads KERAS_HOME when it is imported, we at every call."""
    import_keras()
    from keras.src.backend import config

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(config, "_KERAS_DIR", str(tmp_path))
    folder = tmp_path / "models"
    folder.mkdir()
    assert keras_folder() == str(folder)
    return folder


@pytest.fixture
def server(tmp_path_factory, monkeypatch, weights_file):
    """A web server on this machine in the place of Keras', with `served` as the folder and `requests` so far."""
    from keras.src.applications import mobilenet_v2, mobilenet_v3

    served = tmp_path_factory.mktemp("served")
    shutil.copy(weights_file, served / SMALL.weights_name(64))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, _format, *arguments):
            web.requests.append(arguments[0])

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(served)))
    web.served, web.requests = served, []
    address = f"http://127.0.0.1:{web.server_port}/"
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    monkeypatch.setitem(mobilenet_v3.WEIGHTS_HASHES, "small_224_1.0_float", ("", digest))
    monkeypatch.setattr(mobilenet_v3, "BASE_WEIGHT_PATH", address)
    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", address)
    threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


def stop(web):
    web.shutdown()
    web.server_close()


def photograph(side):
    return skimage.data.astronaut()[None, :side, 200 : 200 + side]


def test_missing_weights_are_downloaded_and_used(folder, server, weights_file, caplog, capsys):
    with caplog.at_level(logging.INFO, logger="bottleneck"):
        found = locate(SMALL, 64, None)
    assert found == Weights("imagenet", str(folder / SMALL.weights_name(64)))
    assert (folder / SMALL.weights_name(64)).read_bytes() == weights_file.read_bytes()
    assert "downloading the ImageNet weights of mobilenet_v3_small" in caplog.text
    assert capsys.readouterr().out == ""  # the command line prints results there

    downloads = len(server.requests)
    assert locate(SMALL, (64, 64), "imagenet") == found
    ours = build_network(SMALL.name, found, (64, 64), None, "flatten", SMALL.module)
    assert len(server.requests) == downloads == 1
    keras = import_keras()
    plain = keras.applications.MobileNetV3Small(include_top=False, weights=str(weights_file), input_shape=(64, 64, 3))
    expected = plain(photograph(64)).numpy().reshape(1, -1)
    np.testing.assert_allclose(ours(photograph(64)).numpy(), expected, atol=1e-5 * abs(expected).max())


def test_a_download_with_a_wrong_hash_is_refused_and_not_kept(folder, server):
    name = SMALL.weights_name(64)
    data = bytearray((server.served / name).read_bytes())
    data[len(data) // 2] ^= 1
    (server.served / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        locate(SMALL, 64, None)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert "hash does not match" in str(caught.value)
    assert list(folder.iterdir()) == []


def test_damaged_weights_are_replaced_but_not_used_under_the_old_digest(folder, server, weights_file):
    path = folder / SMALL.weights_name(64)
    data = bytearray(weights_file.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    found = locate(SMALL, 64, None)  # looks for the file only: no TensorFlow where nothing is to be computed
    with pytest.raises(UserError, match=r"were damaged.*run the same again"):
        build_network(SMALL.name, found, (64, 64), None, "avg", SMALL.module)
    assert path.read_bytes() == weights_file.read_bytes()
    assert build_network(SMALL.name, found, (64, 64), None, "avg", SMALL.module).output_shape == (None, 576)
    assert len(server.requests) == 1


def test_damaged_weights_are_not_used_offline(folder, server, weights_file):
    stop(server)
    path = folder / SMALL.weights_name(64)
    path.write_bytes(weights_file.read_bytes()[:-1000])
    with pytest.raises(UserError) as caught:
        pretrained(SMALL, 64)
    assert str(caught.value).startswith(f"weights {path} were damaged, Keras removed them and could not download")
    assert "\n" not in str(caught.value)
    assert not path.exists()


def test_offline_one_line_says_what_is_missing_and_what_to_do(folder, server):
    stop(server)
    for size, name in ((160, "kernels_0.35_160_no_top.h5"), (150, "kernels_0.35_224_no_top.h5")):
        with pytest.raises(UserError) as caught:
            locate(UNHASHED, size, None)
        message = str(caught.value)
        assert "\n" not in message
        assert name in message
        assert f"not in {folder}" in message
        assert "Connection refused" in message
        assert "copy" in message
        assert "WEIGHTS=/path" in message
        assert "BACKBONE=efficientnet_lite2" in message
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("folder", "server")
def test_a_file_that_the_server_does_not_have_is_named():
    with pytest.raises(UserError, match=r"0\.35_224_no_top.*\(File not found\)"):
        locate(UNHASHED, 224, "imagenet")


@pytest.mark.usefixtures("folder")
def test_a_server_that_never_answers_is_given_up(monkeypatch):
    from keras.src.applications import mobilenet_v2

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(featurize.backbones.weights, "STALLED_AFTER", 0.3)
        with pytest.raises(UserError, match="timed out"):
            locate(UNHASHED, 224, None)
    assert socket.getdefaulttimeout() is None


def test_a_half_written_file_without_a_hash_is_not_used(folder, shared):
    whole = (shared / "weights" / UNHASHED.weights_name(224)).read_bytes()
    path = folder / UNHASHED.weights_name(224)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"damaged or of another network \(.*truncated file.*delete the file"):
        pretrained(UNHASHED, 224)
    path.write_bytes(whole)
    assert pretrained(UNHASHED, 224).output_shape == (None, 7, 7, 1280)


def test_the_folder_is_the_one_that_keras_uses(tmp_path):
    from keras.src.backend import config

    assert keras_folder() == os.path.join(config.keras_home(), "models")
    code = """
import os
from featurize.engines.keras_import import import_keras
from featurize.backbones.weights import keras_folder
print(keras_folder())  # before Keras is imported and makes the folder, and after
keras = import_keras()
from keras.src.backend import config
print(keras_folder())
print(os.path.join(os.path.expanduser(config.keras_home()), "models"))
"""
    variables = os.environ | {"HOME": str(tmp_path), "KERAS_HOME": "~/elsewhere"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=variables, check=True)
    assert done.stdout.splitlines() == [str(tmp_path / "elsewhere" / "models")] * 3


def test_a_folder_that_cannot_be_written_is_passed_over_as_by_keras(folder, monkeypatch, weights_file):
    keras = import_keras()
    usual = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(folder.parent) and usual(path, mode))
    name = "bottleneck-features-test.h5"
    expected = os.path.join(keras_folder(), name)
    try:
        assert keras.utils.get_file(name, weights_file.as_uri(), cache_subdir="models") == expected
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(expected)


def test_a_users_file_is_found_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "mine.weights.h5").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = Weights("file", str(tmp_path / "mine.weights.h5"))
    assert locate(SMALL, 224, "mine.weights.h5") == locate(SMALL, 224, "~/mine.weights.h5") == expected
    assert locate(SMALL, 224, "random") == Weights("random", "")


@pytest.mark.parametrize("wrong", ["missing.h5", "notes.txt", "folder.h5", "ImageNet", "noisy-student", ""])
def test_anything_else_is_refused_with_what_is_valid(tmp_path, monkeypatch, wrong):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.h5").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        locate(SMALL, 224, wrong)
    assert repr(wrong) in str(caught.value)
    assert all(valid in str(caught.value) for valid in (".h5", "'imagenet'", "'random'"))


def test_nothing_heavy_is_imported_where_nothing_is_downloaded(tmp_path):
    name = UNHASHED.weights_name(224)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / name).touch()
    code = f"""
import sys
from featurize.backbones.backbone_table import find_backbone
from featurize.backbones.weights import locate, random_identity
row = find_backbone({UNHASHED.name!r})
print(locate(row, 224, None).path, locate(row, 224, "random").kind, random_identity())
print({{"keras", "tensorflow"}} & set(sys.modules))
"""
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == f"{tmp_path / 'models' / name} random {random_identity()}\nset()\n"


def test_the_identity_of_random_weights_names_the_versions_that_make_them():
    import tensorflow

    keras = import_keras()
    assert random_identity() == f"random, seed 0, keras {keras.__version__}, tensorflow {tensorflow.__version__}"
