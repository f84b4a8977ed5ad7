"""Rows of model files, from pictures on disk to features, beside onnxruntime on pixels prepared the plain way."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import BUNDLED
from helpers.files.onnx_files import SIDE, by_onnxruntime, conv_net, network, numbers, port, saved, token_net
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize import Featurizer
from featurize.engines.silent_openvino import import_openvino
from featurize.extract.network_extractor import NetworkExtractor
from featurize.resolve import resolve

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RECIPE = "scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 crop=20"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five photographs of odd shapes."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    with Image.open(BUNDLED / "astronaut.png") as photograph:
        for number, shape in enumerate(((61, 47), (40, 83), (33, 33), (200, 97), (64, 65))):
            left = 60 * number
            paths.append(str(folder / f"{number}.png"))
            photograph.crop((left, left, left + shape[0], left + shape[1])).convert("RGB").save(paths[-1])
    return paths


def prepared(paths: list[str], short: int = 20) -> np.ndarray:
    """Pixels as torchvision prepares them, (n, 3, SIDE, SIDE)."""
    images = []
    for path in paths:
        with Image.open(path) as picture:
            width, height = picture.size
            short_side = min(width, height)
            new = int(short * width / short_side), int(short * height / short_side)
            resized = np.asarray(picture.resize(new, Image.Resampling.BILINEAR), np.float32) / 255
        top, left = (round((side - SIDE) / 2) for side in resized.shape[:2])
        images.append((resized[top : top + SIDE, left : left + SIDE] - MEAN) / STD)
    return np.stack(images).astype(np.float32).transpose(0, 3, 1, 2)


def rows_of(model: str, pictures: list[str], cache: Path, **options: Any) -> np.ndarray:
    asked = {"preprocess": RECIPE} | options
    extractor = NetworkExtractor(resolve(DigestTable(str(cache)), backbone=model, **asked), str(cache))
    outcome, rows = extractor.features(pictures)
    assert not outcome.failures and outcome.forward_passes == len(pictures)
    return rows


def same(rows: np.ndarray, expected: np.ndarray, share: float = 1e-4) -> bool:
    """Whether rows agree within 1e-4 of the largest value."""
    return rows.shape == expected.shape and bool(np.abs(rows - expected).max() < share * np.abs(expected).max())


POOLED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "avg": lambda maps: maps.mean(axis=(2, 3)),
    "max": lambda maps: maps.max(axis=(2, 3)),
    "flatten": lambda maps: maps.reshape(len(maps), -1),
    "none": lambda maps: maps,
}


@pytest.mark.parametrize("pooling", POOLED)
def test_maps_are_pooled(tmp_path: Path, pictures: list[str], pooling: str) -> None:
    path = saved(conv_net(), tmp_path / "maps.onnx")
    maps = by_onnxruntime(path, prepared(pictures), "map")
    assert same(rows_of(path, pictures, tmp_path / "cache", pooling=pooling), POOLED[pooling](maps))


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_channels_may_come_last(tmp_path: Path, pictures: list[str], pooling: str) -> None:
    path = saved(conv_net("NHWC"), tmp_path / "maps.onnx")
    maps = by_onnxruntime(path, prepared(pictures).transpose(0, 2, 3, 1), "map").transpose(0, 3, 1, 2)
    assert same(rows_of(path, pictures, tmp_path / "cache", pooling=pooling), POOLED[pooling](maps))
    # a tensor inside has them first, though the input has them last
    assert same(rows_of(path, pictures, tmp_path / "cache", pooling=pooling, layer="relu"), POOLED[pooling](maps))


@pytest.mark.parametrize(
    "shape", [{"batch": 1}, {"batch": 4}, {"side": "s"}, {"side": "s", "channels": "c"}, {"batch": 4, "side": "s"}]
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_batch_size_and_channels_may_be_fixed_or_free(
    tmp_path: Path, pictures: list[str], shape: dict[str, Any], layout: str
) -> None:
    path = saved(conv_net(layout, **shape), tmp_path / "maps.onnx")
    expected = POOLED["avg"](by_onnxruntime(conv_net(), prepared(pictures), "map"))
    assert same(rows_of(path, pictures, tmp_path / "cache", size=SIDE), expected)
    assert same(rows_of(path, pictures[:1], tmp_path / "other", size=SIDE), expected[:1])


@pytest.mark.parametrize(("pooling", "registers"), [("cls", None), ("mean", None), ("mean", 0), ("mean", 4)])
def test_tokens_of_a_transformer(tmp_path: Path, pictures: list[str], pooling: str, registers: int | None) -> None:
    prefix = 1 if registers is None else 1 + registers
    path = saved(token_net(prefix), tmp_path / "model.onnx")
    if registers is not None:
        (tmp_path / "config.json").write_text(f'{{"num_register_tokens": {registers}}}')
    tokens = by_onnxruntime(path, prepared(pictures), "last_hidden_state")
    left_out = 0 if registers is None else prefix  # nothing says how many there are
    expected = tokens[:, 0] if pooling == "cls" else tokens[:, left_out:].mean(axis=1)
    rows = rows_of(path, pictures, tmp_path / "cache", pooling=pooling, layer="last_hidden_state")
    assert same(rows, expected)


def test_vectors_and_tensors_inside(tmp_path: Path, pictures: list[str]) -> None:
    path = saved(token_net(), tmp_path / "model.onnx")
    images = prepared(pictures)
    vectors = by_onnxruntime(path, images, "pooler_output")
    assert same(rows_of(path, pictures, tmp_path / "cache", layer="pooler_output"), vectors)
    model = onnx.load(path)
    model.graph.output.append(port("mixed", None))
    inside = by_onnxruntime(model, images, "mixed")
    assert same(rows_of(path, pictures, tmp_path / "cache", layer="mixed", pooling="cls"), inside[:, 0])


def test_half_precision(tmp_path: Path, pictures: list[str]) -> None:
    path = saved(conv_net(kind=TensorProto.FLOAT16), tmp_path / "half.onnx")
    maps = by_onnxruntime(path, prepared(pictures).astype(np.float16), "map").astype(np.float32)
    rows = rows_of(path, pictures, tmp_path / "cache")
    assert rows.dtype == np.float32 and same(rows, POOLED["avg"](maps), 1e-3)  # onnxruntime rounds on the way


def test_weights_in_another_file(tmp_path: Path, pictures: list[str]) -> None:
    model = conv_net()
    whole = rows_of(saved(model, tmp_path / "whole.onnx"), pictures, tmp_path / "cache")
    path = tmp_path / "apart" / "model.onnx"
    path.parent.mkdir()
    onnx.save(model, str(path), save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    table = DigestTable(str(tmp_path / "other"))
    before = resolve(table, backbone=str(path), preprocess=RECIPE).spec
    assert same(rows_of(str(path), pictures, tmp_path / "other"), whole, 1e-7)
    data = path.with_name("model.onnx_data")
    content = bytearray(data.read_bytes())
    content[0] ^= 1
    data.write_bytes(content)
    assert resolve(table, backbone=str(path), preprocess=RECIPE).spec.weights != before.weights


def test_a_folder_as_hugging_face_exports_it(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, pictures: list[str]
) -> None:
    """A transformer with registers, its weights in a second file, and the files that say how to use it."""
    folder = tmp_path / "dinov2"
    (folder / "onnx").mkdir(parents=True)
    onnx.save(
        token_net(5), str(folder / "onnx" / "model.onnx"), save_as_external_data=True, location="model.onnx_data",
        size_threshold=100,
    )  # fmt: skip
    (folder / "config.json").write_text('{"model_type": "dinov2_with_registers", "num_register_tokens": 4}')
    processor = {
        "do_resize": True, "size": {"shortest_edge": 20}, "resample": 3, "do_center_crop": True,
        "crop_size": {"height": SIDE, "width": SIDE}, "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": MEAN, "image_std": STD, "image_processor_type": "BitImageProcessor",
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    cache = tmp_path / "cache"
    options = ("--layer", "last_hidden_state", "--pooling", "mean", "--data", Path(pictures[0]).parent)
    status, _, said = run("features", "--backbone", folder, *options, "--cache-dir", cache)
    assert status == 0, said
    (line,) = [line for line in said.splitlines() if "preprocessor_config.json" in line]
    assert "dinov2/model.onnx: size 16x16, resize bicubic-short20-floor" in line
    assert "output last_hidden_state, pooling mean of tokens but the first 5" in line
    images = []
    for path in pictures:  # as transformers does it
        with Image.open(path) as picture:
            width, height = picture.size
            short, long = min(width, height), max(width, height)
            new = (20, int(20 * long / short)) if width <= height else (int(20 * long / short), 20)
            resized = np.asarray(picture.resize(new, Image.Resampling.BICUBIC), np.float32)
        top, left = ((side - SIDE) // 2 for side in resized.shape[:2])
        images.append(((resized[top : top + SIDE, left : left + SIDE] / 255 - MEAN) / STD).transpose(2, 0, 1))
    tokens = by_onnxruntime(str(folder / "onnx" / "model.onnx"), np.float32(images), "last_hidden_state")
    rows = Featurizer(str(folder), layer="last_hidden_state", pooling="mean", cache_dir=str(cache)).transform(pictures)
    assert same(rows, tokens[:, 5:].mean(axis=1))


def quantized() -> onnx.ModelProto:
    """A classifier whose weights and activations are int8, as quantizers write it."""
    scale, zero = np.array(0.02, np.float32), np.array(0, np.int8)
    kernel, classes = numbers(6, 3, 3, 3), numbers(6, 4, seed=2)
    weights = {
        "s": scale, "z": zero, "ks": np.array(np.abs(kernel).max() / 127, np.float32),
        "kernel": np.round(kernel / (np.abs(kernel).max() / 127)).astype(np.int8), "classes": classes,
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["kernel", "ks", "z"], ["k"]),
        helper.make_node("Conv", ["d", "k"], ["map"]),
        helper.make_node("QuantizeLinear", ["map", "s", "z"], ["mq"]),
        helper.make_node("DequantizeLinear", ["mq", "s", "z"], ["md"]),
        helper.make_node("Relu", ["md"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "classes"], ["logits"]),
    ]
    return network(nodes, [port("image", ["n", 3, SIDE, SIDE])], [port("logits", ["n", 4])], weights)


def test_eight_bits_give_the_same_labels(tmp_path: Path, pictures: list[str]) -> None:
    path = saved(quantized(), tmp_path / "int8.onnx")
    expected = by_onnxruntime(path, prepared(pictures), "logits")
    rows = rows_of(path, pictures, tmp_path / "cache")
    assert (rows.argmax(axis=1) == expected.argmax(axis=1)).all() and same(rows, expected, 0.02)


def test_pixels_as_whole_numbers(tmp_path: Path, pictures: list[str]) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "kernel"], ["map"]),
    ]
    shape = ["n", 3, SIDE, SIDE]
    model = network(
        nodes, [port("image", shape, TensorProto.UINT8)], [port("map", None)], {"kernel": numbers(6, 3, 3, 3)}
    )
    path = saved(model, tmp_path / "bytes.onnx")
    rows = rows_of(path, pictures, tmp_path / "cache", preprocess="scale=1 mean=0 std=1 crop=20")
    pixels = np.round(prepared(pictures).transpose(0, 2, 3, 1) * STD + MEAN, 6).transpose(0, 3, 1, 2)
    images = np.round(pixels * 255).astype(np.uint8)
    assert same(rows, POOLED["avg"](by_onnxruntime(path, images, "map")))
    with pytest.raises(UserError, match=r"takes whole numbers \(u8\), which the preprocessing does not give"):
        rows_of(path, pictures, tmp_path / "cache")


def test_an_openvino_model_gives_the_rows_of_the_onnx_that_it_was_made_from(
    tmp_path: Path, pictures: list[str]
) -> None:
    path = saved(conv_net(), tmp_path / "maps.onnx")
    expected = rows_of(path, pictures, tmp_path / "cache")
    openvino = import_openvino()
    folder = tmp_path / "ir"
    openvino.save_model(openvino.Core().read_model(path), str(folder / "model.xml"), compress_to_fp16=False)
    for backbone in (folder, folder / "model.xml"):
        assert same(rows_of(str(backbone), pictures, tmp_path / backbone.name), expected)
    table = DigestTable(str(tmp_path / "cache"))
    before = resolve(table, backbone=str(folder), preprocess=RECIPE).spec
    assert before.layer == "map"
    weights = bytearray((folder / "model.bin").read_bytes())
    weights[0] ^= 1
    (folder / "model.bin").write_bytes(weights)
    assert resolve(table, backbone=str(folder), preprocess=RECIPE).spec.weights != before.weights


def test_a_batch_that_is_built_in_is_kept(
    tmp_path: Path, pictures: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    weights = {"kernel": numbers(6, 3, 4, 4), "one": np.array([1, 6, -1], np.int64)}
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"], strides=[4, 4]),
        helper.make_node("Reshape", ["map", "one"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[2], keepdims=0),
    ]
    model = network(nodes, [port("image", ["n", 3, SIDE, SIDE])], [port("mean", None)], weights)
    path = saved(model, tmp_path / "built-in.onnx")
    with caplog.at_level("INFO"):
        rows = rows_of(path, pictures, tmp_path / "cache")
    images = prepared(pictures)
    assert same(rows, np.concatenate([by_onnxruntime(path, images[i : i + 1], "mean") for i in range(5)]))
    assert "one picture at a time" in caplog.text


def test_a_tensor_that_text_is_not_needed_for(tmp_path: Path, pictures: list[str]) -> None:
    weights = {"kernel": numbers(6, 3, 4, 4), "words": numbers(9, 6, seed=1)}
    nodes = [
        helper.make_node("Conv", ["pixel_values", "kernel"], ["map"], strides=[4, 4]),
        helper.make_node("ReduceMean", ["map"], ["image_embeds"], axes=[2, 3], keepdims=0),
        helper.make_node("Gather", ["words", "input_ids"], ["all"]),
        helper.make_node("ReduceMean", ["all"], ["text_embeds"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["image_embeds", "text_embeds"], ["alike"]),
    ]
    inputs = [port("input_ids", ["m", "t"], TensorProto.INT64), port("pixel_values", ["n", 3, SIDE, SIDE])]
    outputs = [port(name, None) for name in ("alike", "image_embeds", "text_embeds")]
    path = saved(network(nodes, inputs, outputs, weights), tmp_path / "clip.onnx")
    rows = rows_of(path, pictures, tmp_path / "cache", layer="image_embeds")
    alone = network(nodes[:2], inputs[1:], outputs[1:2], {"kernel": weights["kernel"]})
    assert same(rows, by_onnxruntime(alone, prepared(pictures), "image_embeds"))
    with pytest.raises(UserError, match=r"alike is computed from .*input_ids i64"):
        rows_of(path, pictures, tmp_path / "cache", layer="alike")
    with pytest.raises(UserError, match="has 3 outputs, name one with LAYER"):
        resolve(DigestTable(str(tmp_path / "cache")), backbone=path, preprocess=RECIPE)
    text = network(nodes[2:4], inputs[:1], outputs[2:], {"words": weights["words"]})
    with pytest.raises(UserError, match=r"no input of images .*input_ids int64"):
        resolve(DigestTable(str(tmp_path / "cache")), backbone=saved(text, tmp_path / "t.onnx"), preprocess=RECIPE)


def test_weights_that_are_listed_among_the_inputs_are_none(tmp_path: Path, pictures: list[str]) -> None:
    model = conv_net()
    expected = rows_of(saved(model, tmp_path / "new.onnx"), pictures, tmp_path / "cache")
    for tensor in model.graph.initializer:
        model.graph.input.append(port(tensor.name, numpy_helper.to_array(tensor).shape))
    model.ir_version = 3
    assert same(rows_of(saved(model, tmp_path / "old.onnx"), pictures, tmp_path / "other"), expected)


def test_bfloat16_is_near(tmp_path: Path, pictures: list[str]) -> None:
    from featurize.engines.openvino_engine import has_bf16

    if not has_bf16():
        pytest.skip("this processor does not compute in bfloat16")
    path = saved(token_net(), tmp_path / "model.onnx")
    options = {"layer": "last_hidden_state", "pooling": "mean"}
    exact = rows_of(path, pictures, tmp_path / "cache", **options)
    rows = rows_of(path, pictures, tmp_path / "cache", precision="bf16", **options)
    assert not same(rows, exact, 1e-6) and same(rows, exact, 0.05)


def test_a_copy_of_the_model_has_the_same_rows(tmp_path: Path, pictures: list[str]) -> None:
    path = saved(conv_net(), tmp_path / "maps.onnx")
    rows_of(path, pictures, tmp_path / "cache")
    copy = shutil.copy(path, tmp_path / "renamed.onnx")
    extractor = NetworkExtractor(
        resolve(DigestTable(str(tmp_path / "cache")), backbone=str(copy), preprocess=RECIPE), str(tmp_path / "cache")
    )
    assert extractor.features(pictures)[0].forward_passes == 0
