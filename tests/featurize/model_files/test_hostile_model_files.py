"""Model files that are none, that OpenVINO does not read, or that reach for files and memory: one line each."""

import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.files.onnx_files import SIDE, conv_net, network, numbers, port, saved
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.engines.choose import open_graph
from featurize.engines.silent_openvino import import_openvino
from featurize.model_files.find_files import read_outline
from featurize.model_files.onnx_outline import NEWEST_OPSET
from featurize.model_files.outline import Port
from featurize.resolve import resolve

Refuse = Callable[..., str]


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """The one line with which a model file is refused, before pixels are decoded."""

    def refused(path: str | Path, **options: Any) -> str:
        asked = {"preprocess": "none", "size": SIDE} | options
        with pytest.raises(UserError) as caught:
            resolved = resolve(DigestTable(str(tmp_path / "cache")), backbone=str(path), **asked)
            open_graph(resolved, str(tmp_path / "cache"))
        message = str(caught.value)
        assert "\n" not in message and len(message) < 1200
        return message

    return refused


def with_external(path: Path, entries: dict[str, str], where: str = "initializer") -> str:
    """`conv_net` whose kernel lies where `entries` say; or the kernel is a constant of a node, or inside a branch."""
    model = conv_net()
    kernel = model.graph.initializer[0]
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        entry = kernel.external_data.add()
        entry.key, entry.value = key, value
    if where != "initializer":
        constant = helper.make_node("Constant", [], ["kernel"], value=kernel)
        del model.graph.initializer[0]
        if where == "branch":
            branch = helper.make_graph([constant], "branch", [], [port("kernel", None)])
            constant = helper.make_node("If", ["yes"], ["kernel"], then_branch=branch, else_branch=branch)
        model.graph.node.insert(0, constant)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return str(path)


@pytest.mark.parametrize("where", ["initializer", "node", "branch"])
@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "..\\secret.bin", "C:\\secret.bin", "", "weights\0.bin",
     "../model/../secret.bin"],
)  # fmt: skip
def test_weights_outside_of_the_folder_are_refused(tmp_path: Path, refuse: Refuse, location: str, where: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(648))
    message = refuse(with_external(tmp_path / "model" / "m.onnx", {"location": location}, where))
    assert "leads out of the model's folder: it is refused" in message


def test_a_link_to_weights_outside_of_the_folder_is_refused(tmp_path: Path, refuse: Refuse) -> None:
    path = with_external(tmp_path / "model" / "m.onnx", {"location": "w.bin"})
    (tmp_path / "secret.bin").write_bytes(bytes(648))
    (tmp_path / "model" / "w.bin").symlink_to(tmp_path / "secret.bin")
    assert "a link that leads out of the model's folder: copy the folder" in refuse(path)
    (tmp_path / "model" / "w.bin").unlink()
    (tmp_path / "model" / "there.bin").write_bytes(bytes(648))
    (tmp_path / "model" / "w.bin").symlink_to("there.bin")
    assert read_outline(path).external == ("w.bin",)


@pytest.mark.parametrize(
    ("entries", "shown"),
    [
        ({}, "and there is no such file"),
        ({"location": "w.bin", "offset": "4"}, "ends before the tensor does"),
        ({"location": "w.bin", "offset": "-4"}, "ends before the tensor does"),
        ({"location": "w.bin", "length": "9999999999"}, "ends before the tensor does"),
        ({"location": "w.bin", "length": "4"}, "ends before the tensor does"),
        ({"location": "w.bin", "offset": "x"}, "at no place that is a number"),
        ({"location": "folder"}, "there is no such file"),
    ],
)
def test_weights_that_are_not_all_there(tmp_path: Path, refuse: Refuse, entries: dict[str, str], shown: str) -> None:
    path = with_external(tmp_path / "model" / "m.onnx", entries or {"location": "gone.bin"})
    (tmp_path / "model" / "w.bin").write_bytes(bytes(648))
    (tmp_path / "model" / "folder").mkdir()
    assert shown in refuse(path)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "nothing", "link to nothing"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, refuse: Refuse, kind: str) -> None:
    path = tmp_path / "m.onnx"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to nothing":
        path.symlink_to(tmp_path / "gone")
    assert ("the folder has none of" if kind == "folder" else "no such file") in refuse(path)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite"])
@pytest.mark.parametrize("content", [b"", b"\x08", b"<net>", b"x" * 1000, os.urandom(1000), b"\x00" * 64])
def test_what_is_no_model_is_named(tmp_path: Path, refuse: Refuse, suffix: str, content: bytes) -> None:
    (tmp_path / "m.bin").write_bytes(b"")
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    message = refuse(path)
    assert "is no " in message or "is empty" in message


def test_too_new_an_opset(tmp_path: Path, refuse: Refuse) -> None:
    model = conv_net()
    model.opset_import[0].version = NEWEST_OPSET + 1
    message = refuse(saved(model, tmp_path / "m.onnx"))
    assert f"has opset {NEWEST_OPSET + 1}, up to {NEWEST_OPSET} is read" in message


@pytest.mark.parametrize("domain", ["", "my.domain"])
def test_an_operator_that_is_not_known(tmp_path: Path, refuse: Refuse, domain: str) -> None:
    node = helper.make_node("Sharpen", ["image"], ["map"], domain=domain)
    model = network([node], [port("image", ["n", 3, SIDE, SIDE])], [port("map", None)], {})
    message = refuse(saved(model, tmp_path / "m.onnx"))
    assert "cannot be read by OpenVINO" in message and "Sharpen" in message and ".cpp" not in message


def test_what_fails_when_it_runs_is_one_line(tmp_path: Path) -> None:
    """A reshape to as many numbers as the picture is bright."""
    weights = {"zero": np.array([0], np.int64), "one": np.array([1], np.int64)}
    nodes = [
        helper.make_node("ReduceSum", ["image"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["bright"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["bright", "zero"], ["side"]),
        helper.make_node("Concat", ["one", "side"], ["shape"], axis=0),
        helper.make_node("Reshape", ["image", "shape"], ["row"]),
        helper.make_node("ReduceMean", ["row"], ["map"], axes=[0, 1]),
    ]
    model = network(nodes, [port("image", [1, 3, SIDE, SIDE])], [port("map", None)], weights)
    path = saved(model, tmp_path / "m.onnx")
    graph = open_graph(resolve(DigestTable(str(tmp_path)), backbone=path, preprocess="none"), str(tmp_path))
    with pytest.raises(UserError, match=r"^backbone m\.onnx cannot be computed by OpenVINO \(.*\)$"):
        graph.compile(1, "uint8")


def test_an_unknown_output_is_answered_with_those_there_are(tmp_path: Path, refuse: Refuse) -> None:
    message = refuse(saved(conv_net(), tmp_path / "m.onnx"), layer="mep")
    assert "unknown layer 'mep'" in message and "did you mean map?" in message and "sum" in message


@pytest.mark.parametrize(
    ("shape", "kind", "shown"),
    [
        (["n", 3, 10**6, 10**6], TensorProto.FLOAT, "it is refused"),
        (["n", 1, SIDE, SIDE], TensorProto.FLOAT, "no input of images"),
        (["n", 3 * SIDE * SIDE], TensorProto.FLOAT, "no input of images"),
        (["n", 3, SIDE, SIDE], TensorProto.INT64, "needs one input of images"),
    ],
)
def test_inputs_that_are_no_images(tmp_path: Path, refuse: Refuse, shape: list[Any], kind: int, shown: str) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["float"], ["map"]),
    ]
    model = network(nodes, [port("image", shape, kind)], [port("map", None)], {})
    assert shown in refuse(saved(model, tmp_path / "m.onnx"))


def test_a_size_at_which_it_cannot_be_computed(tmp_path: Path, refuse: Refuse) -> None:
    weights = {"kernel": numbers(6, 3, 4, 4), "place": numbers(1, 6, 4, 4)}
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["patches"], strides=[4, 4]),
        helper.make_node("Add", ["patches", "place"], ["map"]),
    ]
    model = network(nodes, [port("image", ["n", 3, "h", "w"])], [port("map", None)], weights)
    assert "cannot be computed at 32x32" in refuse(saved(model, tmp_path / "m.onnx"), size=32)


def test_poolings_that_do_not_fit(tmp_path: Path, refuse: Refuse) -> None:
    from helpers.files.onnx_files import token_net

    tokens = saved(token_net(), tmp_path / "t.onnx")
    assert "give POOLING=cls, mean or flatten (tokens)" in refuse(tokens, layer="last_hidden_state")
    assert "needs no pooling cls" in refuse(tokens, layer="pooler_output", pooling="cls")
    maps = saved(conv_net(), tmp_path / "m.onnx")
    assert "give POOLING=avg, max or flatten (a map)" in refuse(maps, pooling="cls")
    assert "'median': choose one of avg, max, flatten, none, cls, mean" in refuse(maps, pooling="median")
    (tmp_path / "config.json").write_text('{"num_prefix_tokens": 17}')
    assert "no tokens beyond the first 17" in refuse(tokens, layer="last_hidden_state", pooling="mean")


def bomb(kind: str) -> onnx.ModelProto:
    """A few hundred bytes that declare terabytes."""
    huge = np.array([2**20, 2**20, 64], np.int64)
    if kind == "computed":
        nodes = [
            helper.make_node("ConstantOfShape", ["shape"], ["big"]),
            helper.make_node("ReduceSum", ["big"], ["one"], keepdims=0),
            helper.make_node("Add", ["image", "one"], ["map"]),
        ]
        return network(nodes, [port("image", ["n", 3, SIDE, SIDE])], [port("map", None)], {"shape": huge})
    if kind == "output":
        node = helper.make_node("Relu", ["image"], ["map"])
        return network([node], [port("image", ["n", 3, SIDE, SIDE])], [port("map", ["n", *huge.tolist()])], {})
    model = conv_net()
    kernel = model.graph.initializer[0]
    kernel.dims[:] = [2**20, 2**20, 3, 3] if kind == "weights" else [6000, 3, 3, 3]
    return model


@pytest.mark.parametrize("kind", ["computed", "output", "weights", "weights that are not there"])
def test_huge_shapes_take_no_memory(tmp_path: Path, kind: str) -> None:
    path = saved(bomb(kind), tmp_path / "m.onnx")
    code = f"""
import os, re, resource
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.engines.choose import open_graph
from featurize.resolve import resolve
try:
    open_graph(resolve(DigestTable({str(tmp_path / "cache")!r}), backbone={path!r}, preprocess="none"), "cache")
except UserError as error:
    print(error)
status = open("/proc/self/status").read() if os.path.exists("/proc/self/status") else ""
peak = re.search(r"VmHWM:\\s+([0-9]+)", status)  # rusage has the memory of the process that this one was forked from
print(peak[1] if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    message, kilobytes = done.stdout.splitlines()
    assert ("refused" in message or "declares" in message) and int(kilobytes) < 1_000_000


def ir(folder: Path) -> Path:
    openvino = import_openvino()
    model = openvino.Core().read_model(saved(conv_net(), folder / "m.onnx"))
    openvino.save_model(model, str(folder / "ir.xml"), compress_to_fp16=False)
    return folder / "ir.xml"


def test_openvinos_own_files(tmp_path: Path, refuse: Refuse) -> None:
    path = ir(tmp_path)
    assert read_outline(str(path)).outputs == (Port("map", (None, 6, 8, 8), "float32"),)
    text, weights = path.read_text(), path.with_suffix(".bin")
    path.write_text(text.replace("<net ", '<!DOCTYPE n [<!ENTITY x SYSTEM "file:///etc/passwd">]><net ', 1))
    assert "it has a DOCTYPE" in refuse(path)
    path.write_text(text.replace('offset="0"', 'offset="99999"', 1))
    assert "ends at byte" in refuse(path)
    path.write_text(text.replace('shape="6, 3, 3, 3"', 'shape="600000, 3, 3, 3"', 1))
    assert "in 648 bytes" in refuse(path)
    path.write_text(text.replace("<dim>8</dim>", "<dim>800000</dim>"))
    assert "more than" in refuse(path)
    path.write_text(text.replace('type="ReLU"', 'type="Sharpen"'))
    assert "cannot be read by OpenVINO" in refuse(path) and "Sharpen" in refuse(path)
    path.write_text("<net>" + "<a>" * 300 + "</a>" * 300 + "</net>")
    assert "in each other" in refuse(path)
    path.write_text(text)
    weights.unlink()
    assert "its weights" in refuse(path) and "copy them beside it" in refuse(path)


def test_a_tflite_file_of_offsets_that_lead_nowhere(tmp_path: Path, refuse: Refuse) -> None:
    path = tmp_path / "m.tflite"
    for offset in (0, 4, 2**31, 2**32 - 1):
        path.write_bytes(struct.pack("<I", offset) + b"TFL3" + bytes(64))
        assert "is no TFLite model" in refuse(path)


WHOLE = conv_net().SerializeToString()


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_damage_is_one_line_or_an_outline(tmp_path_factory: Any, changes: list[tuple[int, int]], cut: bool) -> None:
    content = bytearray(WHOLE)
    for place, byte in changes:
        content[place] = byte
    path = tmp_path_factory.mktemp("damaged") / "m.onnx"
    path.write_bytes(content[: changes[0][0]] if cut else content)
    try:
        read_outline(str(path))
    except UserError as error:
        assert "\n" not in str(error)
