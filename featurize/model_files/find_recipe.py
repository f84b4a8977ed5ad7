"""Where the preprocessing of a model file is written: a sidecar, a file of its exporter, or options.

The first of these that is there is taken. Options that contradict it are refused. Nothing is guessed.
"""

import json
import os
from typing import Any

from cache.errors import UserError
from featurize.decoding.crops import FILTERS, LEAST_SHARE, ROUNDINGS, Crop, short_side
from featurize.model_files import huggingface
from featurize.model_files.find_files import ModelFile
from featurize.model_files.recipe import WAYS, Numbers, Recipe, number, three, words_of

CONFIG = "config.json"
LARGEST = 4 * 1024**2  # bytes of a JSON file
SIDECAR = ("size", "resize", "crop", "scale", "mean", "std", "bgr", "prefix_tokens")
HOW = "give --mean, --std, --scale and --crop (preprocess=), or a sidecar"

# Tokens before those of patches (the class, and what was distilled), by `model_type` of config.json.
PREFIXES = {
    "vit": 1, "vit_mae": 1, "vit_msn": 1, "beit": 1, "dinov2": 1, "clip_vision_model": 1, "deit": 2, "siglip": 0,
    "siglip_vision_model": 0, "siglip2_vision_model": 0, "clip": 1,
}  # fmt: skip

Size = tuple[int, int]


def find_recipe(
    model: ModelFile, fixed: tuple[int | None, int | None], size: Size | None, preprocess: str | None, resize: str
) -> Recipe:
    """The preprocessing of a model whose input is `fixed` (height, width; None: free), with what the options say.

    Raises UserError for what is missing, in one line, and for sizes and options that contradict each other.
    """
    own = (fixed[0], fixed[1]) if fixed[0] and fixed[1] else None
    written = _written(model, own)
    recipe = written or _of_options(model, own, size, preprocess, resize)
    if written and size not in (None, written.size):
        raise UserError(
            f"size {_shown(size)} contradicts {written.source}, which says {_shown(written.size)}: leave it out, or "
            "write a sidecar"
        )
    if (
        written
        and preprocess is not None
        and contradicts(words_of_option(preprocess), written.size, written.resize, written.numbers)
    ):
        raise UserError(f"preprocess {preprocess!r} contradicts {written.source}, which says: {written}; leave it out")
    if written and resize not in ("antialias", written.resize):
        raise UserError(f"resize {resize!r} contradicts {written.source}, which says {written.resize}; leave it out")
    for side, wanted in zip(fixed, recipe.size, strict=True):
        if side not in (None, wanted):
            raise UserError(
                f"size {_shown(recipe.size)} ({recipe.source}) contradicts {model.name}, whose input is "
                f"{'x'.join(str(one or 'any') for one in fixed)}"
            )
    return recipe


def prefix_tokens(model: ModelFile) -> int | None:
    """How many tokens come before those of patches, as a sidecar or the model's configuration says; None: unknown."""
    sidecar = _sidecar(model)
    if sidecar and "prefix_tokens" in sidecar[0]:
        return _count(sidecar[0]["prefix_tokens"], sidecar[1])
    path = model.beside(CONFIG)
    config = read_json(path) if path else {}
    if "num_prefix_tokens" in config:
        return _count(config["num_prefix_tokens"], CONFIG)
    if "num_register_tokens" in config:  # of models that have one for the class as well
        return 1 + _count(config["num_register_tokens"], CONFIG)
    return PREFIXES.get(str(config.get("model_type")))


def _count(value: Any, source: str) -> int:
    if type(value) is not int or not 0 <= value < 10_000:
        raise UserError(f"{source} says {value!r:.40} tokens: give a whole number")
    return value


def _written(model: ModelFile, own: Size | None) -> Recipe | None:
    if sidecar := _sidecar(model):
        return _of_sidecar(*sidecar, own)
    config_path, processor = model.beside(CONFIG), model.beside(huggingface.FILE)
    config = read_json(config_path) if config_path else {}
    if processor:
        given = read_json(processor)
        if "pretrained_cfg" not in given:
            return huggingface.recipe_of_processor(given, str(config.get("model_type")), huggingface.FILE)
        config = given
    if "pretrained_cfg" in config:
        return _of_timm(config["pretrained_cfg"])
    return None


def _sidecar(model: ModelFile) -> tuple[dict[str, Any], str] | None:
    """(what the sidecar of a model says, its name): the file `model.json` of `model.onnx`."""
    name = os.path.splitext(os.path.basename(model.path))[0] + ".json"
    path = model.beside(name) if name != CONFIG else None
    return (read_json(path), name) if path else None


def read_json(path: str) -> dict[str, Any]:
    """The object in a JSON file. Raises UserError for anything else."""
    try:
        if os.path.getsize(path) > LARGEST:
            raise ValueError("too large")
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        if not isinstance(found, dict):
            raise ValueError("no object")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error})") from None
    return found


def _of_sidecar(given: dict[str, Any], source: str, own: Size | None) -> Recipe:
    if unknown := given.keys() - set(SIDECAR):
        raise UserError(f"{source} says {', '.join(sorted(unknown))}: known are {', '.join(SIDECAR)}")
    missing = [name for name in ("resize", "crop", "scale", "mean", "std") if name not in given]
    missing += ["size"] if own is None and "size" not in given else []
    if missing:
        raise UserError(f"{source} lacks {', '.join(missing)}")
    size = _size(given["size"], source) if "size" in given else own
    assert size is not None
    mean, std = (
        three([number(one, source) for one in (value if isinstance(value, list) else [value])], source)
        for value in (given["mean"], given["std"])
    )
    numbers = Numbers(number(given["scale"], source), mean, std, given.get("bgr") is True)
    return Recipe(size, _resize(str(given["resize"]), given["crop"], size, False), numbers, source)


def _of_timm(given: Any) -> Recipe:
    """Of timm's `pretrained_cfg`, whose rules are those of its `transforms_imagenet_eval`."""
    source = f"{CONFIG} (timm)"
    needed = ("input_size", "interpolation", "crop_pct", "mean", "std")
    missing = [name for name in needed if not isinstance(given, dict) or given.get(name) is None]
    if missing:
        raise UserError(f"pretrained_cfg of {source} lacks {', '.join(missing)}: add it, or {huggingface.ADVICE}")
    sides = given["input_size"]
    if not isinstance(sides, list) or len(sides) != 3 or sides[0] != 3:
        raise UserError(f"{source} has input_size {sides!r:.60}: [3, height, width] is read")
    height, width = _size(sides[1:], source)
    name, share, mode = given["interpolation"], number(given["crop_pct"], source), given.get("crop_mode") or "center"
    if name not in FILTERS:
        raise UserError(f"{source} has interpolation {name!r:.40}: known are {', '.join(FILTERS)}")
    if not LEAST_SHARE <= share <= 1:
        raise UserError(f"{source} has crop_pct {share:g}: shares from {LEAST_SHARE} to 1 are read")
    if mode not in ("center", "squash") or (mode == "center" and height != width):
        what = f"crop_mode {mode!r:.40} of {height}x{width}"
        raise UserError(f"{source} has {what}, which is not done: {huggingface.ADVICE}")
    if mode == "center":
        crop = Crop(name, short=short_side(height, share), rounding="round")
    elif share == 1:
        crop = Crop(name)
    else:
        crop = Crop(name, stretch=(short_side(height, share), short_side(width, share)), rounding="round")
    mean, std = (three([number(one, source) for one in _listed(given[key], source)], source) for key in ("mean", "std"))
    return Recipe((height, width), crop.text, Numbers(1 / 255, mean, std), source)


def _listed(value: Any, source: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{source} has {value!r:.40} where a list of three numbers is wanted")
    return value


def words_of_option(preprocess: str) -> dict[str, Any]:
    """What the option says: `words_of`, or the numbers of a name, with the crop "none" of Keras' way."""
    if "=" in preprocess or preprocess == "bgr":
        return words_of(preprocess)
    numbers = Numbers.of(preprocess)
    return {"scale": numbers.scale, "mean": numbers.mean, "std": numbers.std, "bgr": numbers.bgr, "crop": "none"}


def contradicts(words: dict[str, Any], size: Size, resize: str, numbers: Numbers) -> bool:
    """Whether what an option says is otherwise in a recipe of that size, resizing and numbers."""
    said = {"scale": numbers.scale, "mean": numbers.mean, "std": numbers.std, "bgr": numbers.bgr}
    if "crop" in words:
        way = resize if resize in WAYS else resize.partition("-")[0]
        possible = [_resize(way, words["crop"], size, way in WAYS, rounding) for rounding in ROUNDINGS]
        if resize not in possible:
            return True
    return any(said[key] != value for key, value in words.items() if key != "crop" and (key != "bgr" or value))


def _of_options(model: ModelFile, own: Size | None, size: Size | None, preprocess: str | None, resize: str) -> Recipe:
    size = size or own
    words = words_of_option(preprocess) if preprocess is not None else {}
    missing = [name for name in ("mean", "std", "scale", "crop") if name not in words]
    missing += ["size"] if size is None else []
    if missing or size is None:
        beside = os.path.splitext(os.path.basename(model.path))[0] + ".json"
        raise UserError(
            f"the preprocessing of {model.name} is not known, {', '.join(missing)} missing: there is no {beside}, "
            f"{huggingface.FILE} or timm's {CONFIG} beside it; {HOW}"
        )
    numbers = Numbers(words["scale"], words["mean"], words["std"], bool(words.get("bgr")))
    return Recipe(size, _resize(resize, words["crop"], size, True), numbers, "the options")


def _resize(way: str, crop: Any, size: Size, as_usual: bool, rounding: str = "round") -> str:
    """The field `resize` of a spec. way: antialias, or a filter of Pillow.

    as_usual: without a crop, pictures are resized as for other backbones, where `way` is one of theirs.

    Raises UserError for a crop that is no share, number of pixels or "none", and for one larger than the picture.
    """
    name = "bilinear" if way == "antialias" else way
    if crop in (None, "none"):
        if as_usual and way in WAYS:
            return way
        return Crop(name).text if name in FILTERS else _no_filter(way)
    if name not in FILTERS:
        return _no_filter(way)
    amount = number(crop, "crop")
    if LEAST_SHARE <= amount <= 1 and size[0] == size[1]:
        short = short_side(size[0], amount)
    elif amount > 1 and amount == int(amount):
        short = int(amount)
    else:
        raise UserError(
            f"crop {crop!r} of an input of {_shown(size)}: give the share of the shorter side that is kept (of square "
            "inputs), such as 0.875, the pixels that the shorter side is resized to, such as 256, or none"
        )
    made = Crop(name, short=short, rounding=rounding)
    if not made.fits(size) or Crop.of(made.text) is None:
        raise UserError(f"crop {crop!r}: an input of {_shown(size)} cannot be cut out of a shorter side of {short}")
    return made.text


def _no_filter(way: str) -> str:
    raise UserError(f"resize {way!r}: choose one of antialias, {', '.join(FILTERS)}")


def _size(value: Any, source: str) -> Size:
    sides = value if isinstance(value, list) else [value, value]
    if [type(side) for side in sides] != [int, int] or min(sides) <= 0:
        raise UserError(f"{source} has size {value!r:.60}: give a side in pixels, or [height, width]")
    return sides[0], sides[1]


def _shown(size: Size | None) -> str:
    return "x".join(map(str, size or ()))
