"""Preprocessing as `preprocessor_config.json` of Hugging Face's transformers describes it.

Its image processors read some keys in ways of their own; `PROCESSORS` names those that are known here. What a file does
not say, and what would change pixels and is not known, is refused.
"""

from typing import Any, NamedTuple

from cache.errors import UserError
from featurize.decoding.crops import FILTERS, LEAST_SHARE, MOST, Crop
from featurize.model_files.recipe import Numbers, Recipe, number, three

FILE = "preprocessor_config.json"
RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic")  # by Pillow's numbers
assert set(RESAMPLE) == set(FILTERS)
UNIMPORTANT = {"do_convert_rgb", "do_reduce_labels"}  # pictures are RGB already; labels are no pictures
WARPED_FROM = 384  # ConvNeXt: inputs of this side and more are stretched, smaller ones cut from a larger picture


class Processor(NamedTuple):
    """square: an integer as `size` means both sides, not the shorter one. resample: where the file does not say it."""

    square: bool
    resample: int


# By the class without ImageProcessor, ImageProcessorFast or FeatureExtractor.
PROCESSORS = {
    "ViT": Processor(True, 2), "DeiT": Processor(True, 3), "Beit": Processor(True, 3), "Siglip": Processor(True, 3),
    "EfficientNet": Processor(True, 0), "Bit": Processor(False, 3), "CLIP": Processor(False, 3),
    "ConvNext": Processor(False, 2), "MobileNetV1": Processor(False, 2), "MobileNetV2": Processor(False, 2),
    "DINOv3ViT": Processor(True, 2),
}  # fmt: skip
# Old files name no class; it then follows from `model_type` of config.json.
OF_MODEL = {
    "vit": "ViT", "vit_mae": "ViT", "vit_msn": "ViT", "swin": "ViT", "swinv2": "ViT", "deit": "DeiT", "beit": "Beit",
    "siglip": "Siglip", "siglip_vision_model": "Siglip", "efficientnet": "EfficientNet", "dinov2": "Bit", "bit": "Bit",
    "clip": "CLIP", "clip_vision_model": "CLIP", "convnext": "ConvNext", "convnextv2": "ConvNext",
    "resnet": "ConvNext", "mobilenet_v1": "MobileNetV1", "mobilenet_v2": "MobileNetV2", "dinov3_vit": "DINOv3ViT",
}  # fmt: skip


def recipe_of_processor(config: dict[str, Any], model_type: str, source: str) -> Recipe:
    """The recipe of a processor's configuration. Raises UserError for what is missing, unknown or contradictory."""
    said = str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")
    kind = said.removesuffix("Fast").removesuffix("Pil").removesuffix("ImageProcessor").removesuffix("FeatureExtractor")
    kind = kind or OF_MODEL.get(model_type, "")
    for key, value in config.items():
        if key.startswith("do_") and value and key not in (*_KNOWN, *UNIMPORTANT):
            raise UserError(f"{source} says {key}, which is not done here: {ADVICE}")
    size, resize = _resizing(config, kind, source)
    return Recipe(size, resize, _numbers(config, kind, source), source)


ADVICE = "write the preprocessing as a sidecar, see docs/how-to/backbones/any-model-file.md"
_KNOWN = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_flip_channel_order")


def _needed(config: dict[str, Any], key: str, source: str) -> Any:
    if config.get(key) is None:
        raise UserError(f"{source} lacks {key}: add it, or {ADVICE}")
    return config[key]


def _numbers(config: dict[str, Any], kind: str, source: str) -> Numbers:
    # Files from before there was `do_rescale` are of processors that always divide by 255.
    factor = number(config.get("rescale_factor", 1 / 255), source) if config.get("do_rescale", True) else 1.0
    offset = 1.0 if config.get("do_rescale", True) and config.get("rescale_offset") else 0.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if config.get("do_normalize", "image_mean" in config):
        given = (_needed(config, key, source) for key in ("image_mean", "image_std"))
        mean, std = (
            three([number(one, source) for one in (value if isinstance(value, list) else [value])], source)
            for value in given
        )
    elif "do_normalize" not in config:
        _needed(config, "do_normalize", source)
    mean = three([value + offset for value in mean], source)  # x * factor - 1 - mean
    if kind == "EfficientNet" and config.get("include_top"):  # which divides once more, as its authors trained it
        std = three([value**2 for value in std], source)
    return Numbers(factor, mean, std, bool(config.get("do_flip_channel_order")))


def _resizing(config: dict[str, Any], kind: str, source: str) -> tuple[tuple[int, int], str]:
    """(size of the input, the text of its `Crop`)."""
    if not config.get("do_resize", "size" in config):
        raise UserError(f"{source} does not resize pictures, which a network of one size needs: {ADVICE}")
    crop = _crop(config, source)
    short, stretch = _size(_needed(config, "size", source), kind, bool(crop), source)
    name = _filter(config, kind, source)
    if kind == "ConvNext":
        if short is None or crop:
            raise UserError(f"{source} gives no shortest_edge, which ConvNext's processor needs, or crops besides")
        size = short, short
        if short < WARPED_FROM:
            share = number(config.get("crop_pct") or 224 / 256, source)
            if not LEAST_SHARE <= share <= 1:
                raise UserError(f"{source} has crop_pct {share:g}: shares from {LEAST_SHARE} to 1 are read")
            return size, Crop(name, short=int(short / share)).text
        return size, Crop(name).text
    if "crop_pct" in config:
        raise UserError(f"{source} says crop_pct, which is not known of {kind or 'this processor'}: {ADVICE}")
    if stretch and (crop is None or crop == stretch):
        return stretch, Crop(name).text
    if crop is None:
        raise UserError(f"{source} resizes the shorter side to {short} and crops nothing: inputs differ; {ADVICE}")
    made = Crop(name, short=short, stretch=stretch)
    if not made.fits(crop):
        raise UserError(f"{source} cuts {crop[0]}x{crop[1]} out of less, which takes a border: {ADVICE}")
    return crop, made.text


def _crop(config: dict[str, Any], source: str) -> tuple[int, int] | None:
    if "do_center_crop" not in config and "crop_size" in config:
        raise UserError(f"{source} has a crop_size and does not say do_center_crop: add it")
    if not config.get("do_center_crop"):
        return None
    crop = _needed(config, "crop_size", source)
    if isinstance(crop, dict):
        return _side(crop.get("height"), source), _side(crop.get("width"), source)
    return _side(crop, source), _side(crop, source)


def _size(size: Any, kind: str, cropped: bool, source: str) -> tuple[int | None, tuple[int, int] | None]:
    """(the shorter side, (height, width)), of which one is None."""
    if isinstance(size, dict):
        if size.keys() == {"shortest_edge"}:
            return _side(size["shortest_edge"], source), None
        if size.keys() == {"height", "width"}:
            return None, (_side(size["height"], source), _side(size["width"], source))
        raise UserError(f"{source} has size {size!r:.80}: shortest_edge is read, and height with width; {ADVICE}")
    if isinstance(size, list) and len(size) == 2:
        return None, (_side(size[0], source), _side(size[1], source))
    side = _side(size, source)
    if kind in PROCESSORS:
        return (None, (side, side)) if PROCESSORS[kind].square else (side, None)
    if cropped:
        raise UserError(
            f"{source} has size {side} and a crop: that may mean both sides or the shorter one; "
            f'write {{"shortest_edge": {side}}} or {{"height": {side}, "width": {side}}}'
        )
    return None, (side, side)  # nothing else gives inputs of one size


def _filter(config: dict[str, Any], kind: str, source: str) -> str:
    if config.get("resample") is None and kind in PROCESSORS:
        return RESAMPLE[PROCESSORS[kind].resample]
    resample = _needed(config, "resample", source)
    if type(resample) is not int or not 0 <= resample < len(RESAMPLE):
        raise UserError(f"{source} has resample {resample!r:.40}: 0 to {len(RESAMPLE) - 1} are known")
    return RESAMPLE[resample]


def _side(value: Any, source: str) -> int:
    if type(value) is not int or not 0 < value <= MOST:
        raise UserError(f"{source} has a side of {value!r:.40}: give a whole number of pixels up to {MOST}")
    return value
