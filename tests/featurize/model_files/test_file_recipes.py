"""The preprocessing of a model file: read from what its exporter writes, or refused with what is missing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.files.onnx_files import conv_net, saved, token_net

from bottleneck_features.commands.command_options import given
from cache.digest_table import DigestTable
from cache.errors import UserError
from featurize.model_files.find_files import find_model
from featurize.model_files.find_recipe import find_recipe, prefix_tokens
from featurize.model_files.recipe import Numbers, Recipe
from featurize.reopen import check_options, reopen
from featurize.resolve import resolve

IMAGENET = Numbers(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Numbers(1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
FREE = (None, None)

PROCESSOR = {
    "do_resize": True, "do_center_crop": True, "do_rescale": True, "do_normalize": True, "resample": 3,
    "size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "rescale_factor": 1 / 255,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "do_convert_rgb": True,
    "image_processor_type": "BitImageProcessor",
}  # fmt: skip
VIT = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224}
TIMM = {
    "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center",
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
}  # fmt: skip
SIDECAR = {"size": 224, "resize": "bicubic", "crop": 0.875, "scale": "1/255", "mean": [0.485, 0.456, 0.406],
           "std": [0.229, 0.224, 0.225]}  # fmt: skip


def recipe(
    folder: Path, fixed: Any = FREE, size: Any = None, preprocess: Any = None, resize: str = "antialias"
) -> Recipe:
    """The recipe of the files in `folder`, beside a model that is not read."""
    (folder / "model.onnx").touch()
    return find_recipe(find_model(str(folder)), fixed, size, preprocess, resize)


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content))


def refusal(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


PROCESSORS: list[tuple[dict[str, Any], str, tuple[int, int], str, Numbers]] = [
    (PROCESSOR, "", (224, 224), "bicubic-short256-floor", IMAGENET),
    (PROCESSOR | {"crop_size": 200}, "", (200, 200), "bicubic-short256-floor", IMAGENET),
    (PROCESSOR | {"crop_size": {"height": 160, "width": 240}}, "", (160, 240), "bicubic-short256-floor", IMAGENET),
    (PROCESSOR | {"size": {"height": 240, "width": 230}}, "", (224, 224), "bicubic-squash240x230-floor", IMAGENET),
    (PROCESSOR | {"size": {"height": 224, "width": 224}}, "", (224, 224), "bicubic-squash", IMAGENET),
    (PROCESSOR | {"do_rescale": False}, "", (224, 224), "bicubic-short256-floor",
     Numbers(1.0, IMAGENET.mean, IMAGENET.std)),
    (PROCESSOR | {"do_normalize": False}, "", (224, 224), "bicubic-short256-floor", Numbers(1 / 255)),
    (PROCESSOR | {"do_flip_channel_order": True}, "", (224, 224), "bicubic-short256-floor",
     Numbers(1 / 255, IMAGENET.mean, IMAGENET.std, bgr=True)),
    # as google/vit-base-patch16-224 has it: no do_rescale, no resample, no class
    (VIT, "vit", (224, 224), "bilinear-squash", HALF),
    (VIT | {"resample": 2}, "", (224, 224), "bilinear-squash", HALF),
    (VIT | {"feature_extractor_type": "ViTFeatureExtractor"}, "", (224, 224), "bilinear-squash", HALF),
    # an integer means the shorter side to CLIP, and both sides to DeiT
    (VIT | {"feature_extractor_type": "CLIPFeatureExtractor", "do_center_crop": True, "crop_size": 224}, "",
     (224, 224), "bicubic-short224-floor", HALF),
    (VIT | {"feature_extractor_type": "DeiTFeatureExtractor", "do_center_crop": True, "crop_size": 224,
            "size": 256}, "", (224, 224), "bicubic-squash256x256-floor", HALF),
    (PROCESSOR | {"image_processor_type": "SiglipImageProcessorFast", "size": {"height": 256, "width": 256},
                  "do_center_crop": None, "crop_size": None}, "", (256, 256), "bicubic-squash", IMAGENET),
    # ConvNeXt cuts what is smaller than 384, and stretches what is not
    (VIT | {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875,
            "resample": 3}, "", (224, 224), "bicubic-short256-floor", HALF),
    (VIT | {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 0.875,
            "resample": 3}, "", (384, 384), "bicubic-squash", HALF),
    # EfficientNet: scaled to -1..1, and divided by the deviation once more for classifiers
    (VIT | {"image_processor_type": "EfficientNetImageProcessor", "rescale_factor": 1 / 127.5, "rescale_offset": True,
            "do_normalize": False, "resample": 2, "size": {"height": 289, "width": 289}}, "", (289, 289),
     "bilinear-squash", Numbers(1 / 127.5, (1.0, 1.0, 1.0))),
    (VIT | {"image_processor_type": "EfficientNetImageProcessor", "include_top": True}, "", (224, 224),
     "nearest-squash", Numbers(1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))),
]  # fmt: skip


@pytest.mark.parametrize("case", PROCESSORS, ids=range(len(PROCESSORS)))
def test_hugging_faces_processors(tmp_path: Path, case: Any) -> None:
    config, model_type, size, resize, numbers = case
    write(tmp_path, "preprocessor_config.json", config)
    if model_type:
        write(tmp_path, "config.json", {"model_type": model_type})
    found = recipe(tmp_path)
    assert (found.size, found.resize) == (size, resize)
    assert found.numbers == numbers and Numbers.of(found.numbers.text) == numbers
    assert found.source == "preprocessor_config.json"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"image_mean": None}, "lacks image_mean"),
        ({"image_std": None}, "lacks image_std"),
        ({"size": None}, "lacks size"),
        ({"crop_size": None}, "lacks crop_size"),
        ({"do_center_crop": False}, "crops nothing: inputs differ"),
        ({"do_resize": False}, "does not resize"),
        ({"resample": 4}, "resample 4"),
        ({"resample": "3"}, "resample '3'"),
        ({"crop_size": 300}, "300x300 out of less"),
        ({"do_pad": True}, "says do_pad, which is not done"),
        ({"do_thumbnail": True}, "says do_thumbnail"),
        ({"size": {"longest_edge": 224}}, "longest_edge"),
        ({"size": 256, "image_processor_type": "NewImageProcessor"}, "both sides or the shorter one"),
        ({"resample": None, "image_processor_type": "NewImageProcessor"}, "lacks resample"),
        ({"crop_pct": 0.9}, "says crop_pct, which is not known of Bit"),
        ({"image_mean": [0.5, 0.5]}, "give three numbers"),
        ({"image_std": [0, 1, 1]}, "above 0"),
        ({"image_std": ["x", 1, 1]}, "give a number"),
        ({"image_mean": [1e300, 0, 0]}, "give finite numbers"),
        ({"rescale_factor": 255}, "multiplied by it"),
        ({"size": {"shortest_edge": 10**9}}, "a side of 1000000000"),
        ({"size": {"shortest_edge": True}}, "a side of True"),
        ({"image_processor_type": "ConvNextImageProcessor"}, "or crops besides"),
        (
            {"image_processor_type": "ConvNextImageProcessor", "do_center_crop": False, "crop_pct": 0.001},
            "crop_pct 0.001",
        ),
        ({"image_processor_type": "ConvNextImageProcessor", "do_center_crop": False, "crop_pct": 2}, "crop_pct 2"),
    ],
)
def test_what_a_processor_leaves_open_is_refused(tmp_path: Path, change: dict[str, Any], shown: str) -> None:
    write(tmp_path, "preprocessor_config.json", PROCESSOR | change)
    assert shown in refusal(recipe, tmp_path)


def test_an_old_file_that_does_not_say_whether_it_crops(tmp_path: Path) -> None:
    write(tmp_path, "preprocessor_config.json", VIT | {"crop_size": 224, "resample": 2})
    assert "does not say do_center_crop" in refusal(recipe, tmp_path)


@pytest.mark.parametrize(
    ("change", "size", "resize"),
    [
        ({}, (224, 224), "bicubic-short235-round"),
        ({"crop_pct": 0.875, "interpolation": "bilinear", "crop_mode": None}, (224, 224), "bilinear-short256-round"),
        ({"crop_pct": 1.0}, (224, 224), "bicubic-short224-round"),
        ({"crop_mode": "squash", "crop_pct": 1.0}, (224, 224), "bicubic-squash"),
        ({"crop_mode": "squash", "crop_pct": 0.95}, (224, 224), "bicubic-squash235x235-round"),
        ({"crop_mode": "squash", "input_size": [3, 160, 240], "crop_pct": 1}, (160, 240), "bicubic-squash"),
    ],
)
def test_timms_configuration(tmp_path: Path, change: dict[str, Any], size: tuple[int, int], resize: str) -> None:
    write(tmp_path, "config.json", {"architecture": "vit", "pretrained_cfg": TIMM | change})
    assert recipe(tmp_path) == Recipe(size, resize, IMAGENET, "config.json (timm)")


@pytest.mark.parametrize(
    ("change", "shown"),
    [({name: None}, f"lacks {name}") for name in ("input_size", "interpolation", "crop_pct", "mean", "std")]
    + [
        ({"crop_mode": "border"}, "crop_mode 'border'"),
        ({"input_size": [1, 28, 28]}, "input_size [1, 28, 28]"),
        ({"input_size": [3, 160, 240]}, "crop_mode 'center' of 160x240"),
        ({"interpolation": "random"}, "interpolation 'random'"),
        ({"crop_pct": 1.2}, "crop_pct 1.2"),
        ({"crop_pct": 1e-320}, "crop_pct 9.99"),
        ({"mean": 0.5}, "a list of three numbers"),
    ],
)
def test_what_timm_leaves_open_is_refused(tmp_path: Path, change: dict[str, Any], shown: str) -> None:
    write(tmp_path, "config.json", {"pretrained_cfg": TIMM | change})
    assert shown in refusal(recipe, tmp_path)


def test_the_order_in_which_files_are_believed(tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"pretrained_cfg": TIMM})
    write(tmp_path, "preprocessor_config.json", PROCESSOR)
    assert recipe(tmp_path).source == "preprocessor_config.json"
    write(tmp_path, "model.json", SIDECAR)
    assert recipe(tmp_path) == Recipe((224, 224), "bicubic-short256-round", IMAGENET, "model.json")
    (tmp_path / "model.json").unlink()
    (tmp_path / "preprocessor_config.json").unlink()
    assert recipe(tmp_path).source == "config.json (timm)"
    (tmp_path / "config.json").unlink()
    message = refusal(recipe, tmp_path)
    assert "mean, std, scale, crop, size missing" in message and "there is no model.json" in message


def test_a_folder_with_onnx_in_a_folder_has_its_files_above(tmp_path: Path) -> None:
    write(tmp_path, "preprocessor_config.json", PROCESSOR)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    for backbone in (tmp_path, tmp_path / "onnx" / "model.onnx", tmp_path / "onnx"):
        model = find_model(str(backbone))
        assert find_recipe(model, FREE, None, None, "antialias").source == "preprocessor_config.json"
        assert model.name == f"{tmp_path.name}/model.onnx"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        *[({name: ...}, f"model.json lacks {name}") for name in ("resize", "crop", "scale", "mean", "std", "size")],
        ({"means": 0.5}, "model.json says means"),
        ({"resize": "cubic"}, "resize 'cubic': choose one of antialias, nearest, bilinear, bicubic, lanczos"),
        ({"crop": 1.5}, "crop 1.5"),
        ({"crop": -1}, "crop -1"),
        ({"crop": 1e-320}, "(of square inputs)"),
        ({"crop": 1e300}, "cannot be cut out"),
        ({"crop": 200}, "cannot be cut out of a shorter side of 200"),
        ({"crop": 0.875, "size": [224, 200]}, "(of square inputs)"),
        ({"size": "224"}, "has size '224'"),
        ({"size": [5000, 5000]}, "size 5000x5000 of model.json"),
        ({"size": [224, 0]}, "has size [224, 0]"),
        ({"size": [224, 224, 224]}, "has size [224, 224, 224]"),
        ({"mean": True}, "give a number"),
        ({"scale": "1/0"}, "give a number"),
    ],
)
def test_a_sidecar_says_everything_or_is_refused(tmp_path: Path, change: dict[str, Any], shown: str) -> None:
    content = {name: value for name, value in (SIDECAR | change).items() if value is not ...}
    write(tmp_path, "model.json", content)
    assert shown in refusal(recipe, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", '"x"', "[" * 100_000])
@pytest.mark.parametrize("name", ["model.json", "preprocessor_config.json", "config.json"])
def test_what_is_no_json_object_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert f"{name} cannot be read as JSON" in refusal(recipe, tmp_path)


@pytest.mark.parametrize(
    ("preprocess", "resize", "expected"),
    [
        ("scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 crop=0.875", "antialias", "bilinear-short256-round"),
        ("scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 crop=256", "bicubic", "bicubic-short256-round"),
        ("scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 crop=none", "bicubic", "bicubic-squash"),
        ("scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 crop=none", "antialias", "antialias"),
        ("densenet", "nearest", "nearest"),
    ],
)
def test_options_where_nothing_is_written(tmp_path: Path, preprocess: str, resize: str, expected: str) -> None:
    found = recipe(tmp_path, size=(224, 224), preprocess=preprocess, resize=resize)
    assert found == Recipe((224, 224), expected, IMAGENET, "the options")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"preprocess": "mean=0.5 std=0.5"}, "scale, crop, size missing"),
        ({"preprocess": "none"}, "size missing"),
        ({"preprocess": "scale=255 mean=0 std=1 crop=none", "size": (8, 8)}, "pixels are multiplied by it"),
        ({"preprocess": "scale=1 mean=0 std=0 crop=none", "size": (8, 8)}, "must be above 0"),
        ({"preprocess": "scale=1 mean=0 std=1 crop=0.5 crop=1", "size": (8, 8)}, "crop is there twice"),
        ({"preprocess": "scale=1 mean=0,1 std=1 crop=none", "size": (8, 8)}, "give three numbers"),
        ({"preprocess": "scale=x mean=0 std=1 crop=none", "size": (8, 8)}, "'x' in scale=x"),
        ({"preprocess": "vgg", "size": (8, 8)}, "a module of Keras Applications"),
        ({"preprocess": "scale=1 mean=0 std=1 crop=nan", "size": (8, 8)}, "'nan' in crop"),
    ],
)
def test_options_that_do_not_say_everything(tmp_path: Path, options: dict[str, Any], shown: str) -> None:
    assert shown in refusal(recipe, tmp_path, **options)


def test_options_and_files_must_agree(tmp_path: Path) -> None:
    write(tmp_path, "preprocessor_config.json", PROCESSOR)
    same = "scale=1/255 mean=0.485,0.456,0.406 std=0.229,0.224,0.225 crop=256"
    assert recipe(tmp_path, size=(224, 224), preprocess=same) == recipe(tmp_path)
    assert "size 160x160 contradicts preprocessor_config.json" in refusal(recipe, tmp_path, size=(160, 160))
    assert "contradicts preprocessor_config.json" in refusal(recipe, tmp_path, preprocess="mean=0.5")
    assert "contradicts preprocessor_config.json" in refusal(recipe, tmp_path, preprocess="crop=none")
    assert "contradicts preprocessor_config.json" in refusal(recipe, tmp_path, preprocess="none")
    assert "resize 'bilinear' contradicts" in refusal(recipe, tmp_path, resize="bilinear")
    assert "size 224x224 (preprocessor_config.json) contradicts" in refusal(recipe, tmp_path, fixed=(256, None))


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"model_type": "dinov2"}, 1),
        ({"model_type": "dinov2_with_registers", "num_register_tokens": 4}, 5),
        ({"model_type": "deit"}, 2),
        ({"model_type": "siglip_vision_model"}, 0),
        ({"num_prefix_tokens": 5}, 5),
        ({"model_type": "new"}, None),
    ],
)
def test_how_many_tokens_are_of_no_patch(tmp_path: Path, config: dict[str, Any], count: int | None) -> None:
    write(tmp_path, "config.json", config)
    (tmp_path / "model.onnx").touch()
    assert prefix_tokens(find_model(str(tmp_path))) == count
    write(tmp_path, "model.json", SIDECAR | {"prefix_tokens": 7})
    assert prefix_tokens(find_model(str(tmp_path))) == 7
    write(tmp_path, "model.json", SIDECAR | {"prefix_tokens": -1})
    assert "says -1 tokens" in refusal(prefix_tokens, find_model(str(tmp_path)))


def test_the_numbers_of_a_command_line_are_one_recipe() -> None:
    found = given({"mean": "0.5, 0.4 0.3", "std": "1", "scale": "1/255", "crop": None, "size": None, "layer": "map"})
    assert found == {"layer": "map", "preprocess": "mean=0.5,0.4,0.3 std=1 scale=1/255"}
    assert "--preprocess none and --crop: give one" in refusal(given, {"preprocess": "none", "crop": "0.9"})


@pytest.mark.parametrize(
    "change",
    [{"size": None}, {"size": (9999, 9)}, {"layer": ""}, {"pooling": "median"}, {"resize": "bicubic"},
     {"preprocess": "vgg"}, {"preprocess": "scale=1"}],
)  # fmt: skip
def test_a_record_of_no_model_file_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = saved(conv_net(), tmp_path / "maps.onnx")
    table = DigestTable(str(tmp_path / "cache"))
    spec = resolve(table, backbone=path, preprocess="none").spec
    record = {"spec": spec.to_json(), "weights": {"kind": "file", "path": path}}
    assert reopen(record, table).spec == spec
    refusal(reopen, record | {"spec": replace(spec, **change).to_json()}, table)


def test_every_part_of_the_request_is_in_the_key(tmp_path: Path) -> None:
    path = saved(token_net(5), tmp_path / "model.onnx")
    table = DigestTable(str(tmp_path / "cache"))

    def fingerprint(**options: Any) -> str:
        asked = {"layer": "last_hidden_state", "pooling": "cls", "preprocess": "scale=1/255 mean=0 std=1 crop=20"}
        return resolve(table, backbone=path, **(asked | options)).spec.fingerprint

    known = [
        fingerprint(),
        fingerprint(layer="pooler_output"),
        fingerprint(pooling="mean"),
        fingerprint(preprocess="scale=1/255 mean=0 std=1 crop=21"),
        fingerprint(preprocess="scale=1/255 mean=0 std=0.9 crop=20"),
        fingerprint(preprocess="scale=1/255 mean=0.1 std=1 crop=20"),
        fingerprint(preprocess="scale=1/254 mean=0 std=1 crop=20"),
        fingerprint(preprocess="scale=1/255 mean=0 std=1 crop=20 bgr"),
        fingerprint(resize="bicubic"),
    ]
    write(tmp_path, "config.json", {"num_register_tokens": 4})
    known.append(fingerprint(pooling="mean"))
    saved(token_net(4), tmp_path / "model.onnx")
    known.append(fingerprint())
    assert len(set(known)) == len(known)
    assert fingerprint(preprocess="mean=0,0,0 scale=0.00392156862745098 std=1.0 crop=20.0") == known[-1]


def test_options_are_checked_against_a_trained_spec(tmp_path: Path) -> None:
    path = saved(conv_net(), tmp_path / "maps.onnx")
    table = DigestTable(str(tmp_path / "cache"))
    spec = resolve(table, backbone=path, preprocess="scale=1/255 mean=0.5 std=0.5 crop=20").spec
    for agreeing in ({"preprocess": "mean=0.5,0.5,0.5"}, {"preprocess": "crop=20"}, {"layer": "map"}, {"size": 16},
                     {"backbone": path}, {"pooling": "avg"}, {"resize": "antialias"}):  # fmt: skip
        check_options(spec, "m.joblib", agreeing, table)
    for name, other in (("preprocess", "mean=0.4"), ("preprocess", "crop=none"), ("layer", "sum"), ("size", 32),
                        ("backbone", "nano"), ("pooling", "max"), ("resize", "bicubic")):  # fmt: skip
        assert f"--{name} {other} contradicts" in refusal(check_options, spec, "m.joblib", {name: other}, table)
