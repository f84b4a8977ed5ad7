"""The script beside an exported file: a picture's path -> label, probability, decision, without this project.

It needs numpy, Pillow and the runtime of the format. What differs between models is read from the description beside
it; the text here differs by format, for the runtime, by how pictures are resized, and for one input or several.
"""

import json
import textwrap
from collections.abc import Mapping
from string import Template

from cache.files.atomic import write_atomically
from classify.exports.about import About, side_files
from featurize.decoding.crops import Crop

# Format -> the package to install, its import, how a file is opened, how it is run: named outputs of one input, of
# several that are a dictionary by name.
RUNTIMES = {
    "onnx": (
        "onnxruntime",
        "import onnxruntime",
        "NETWORK = onnxruntime.InferenceSession(FILE)",
        'dict(zip(ABOUT["outputs"], NETWORK.run(ABOUT["outputs"], {"pixels": pixels_of(path)})))',
        'dict(zip(ABOUT["outputs"], NETWORK.run(ABOUT["outputs"], pixels)))',
    ),
    "tflite": (
        "ai-edge-litert",
        "from ai_edge_litert.interpreter import Interpreter",
        "NETWORK = Interpreter(str(FILE)).get_signature_runner()",
        "NETWORK(pixels=pixels_of(path))",
        "NETWORK(**pixels)",
    ),
    "keras": (
        "keras tensorflow",
        "import keras",
        "NETWORK = keras.saving.load_model(FILE)",
        "NETWORK.predict_on_batch(pixels_of(path))",  # compiled: a call of the model itself takes ten times as long
        "NETWORK.predict_on_batch(pixels)",
    ),
    "xml": (
        "openvino",
        "import openvino",
        'NETWORK = openvino.compile_model(FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})',
        'NETWORK({"pixels": pixels_of(path)})',
        "NETWORK(pixels)",
    ),
}

SCRIPT = Template('''\
"""Classify pictures with the exported file beside this one: python THIS.py photo.jpg [another.jpg ...]

It takes that file and its description (.json), named as this one is, and: pip install numpy pillow $package
"""

import json
import os
import sys
from pathlib import Path

if __name__ == "__main__":  # in one line, what is missing
    sys.excepthook = lambda _, error, __: print(*str(error).split(), "-", __doc__.splitlines()[2], file=sys.stderr)

import numpy as np
$import_runtime
from PIL import Image, ImageOps

FILE = Path(__file__).with_suffix("")
ABOUT = json.loads(Path(f"{FILE}.json").read_text())
$open


def pixels_of($taken):
    """A picture as the network takes it: upright, RGB, on white, (1, height, width, 3) float32 from 0 to 255."""
    height, width = $about["size"]
    with Image.open(path) as picture:
$reduce\
        picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":
        raise ValueError(f"more than 8 bits a pixel ({picture.mode}): convert it to 8 bits first")
    if picture.has_transparency_data and (seen := picture.convert("RGBA")).getextrema()[3] != (0, 0):
        picture = Image.new("RGB", picture.size, "white")
        picture.paste(seen, mask=seen)
    picture = picture.convert("RGB")
$resize
    return np.asarray(picture, np.float32)[None]


def classify(path):
    """The label of a picture, its probability, and accept, review or unknown; "" where the model does not decide."""
$several\
    found = $run
    best, probability = max(enumerate(found["probabilities"][0].tolist()), key=lambda one: one[1])
    accept, reject, decision = ABOUT["accept"], ABOUT["reject"], ""
    if reject and found["distance"].item() > reject["limit"]:
        decision = "unknown"
    elif accept:
        threshold = accept["thresholds"][best]
        decision = "review" if threshold is None or probability < threshold else "accept"
    return ABOUT["labels"][best], probability, decision


if __name__ == "__main__":
    sys.excepthook = sys.__excepthook__  # all is there
    sys.stdout.reconfigure(errors="backslashreplace")  # labels have any letters, some terminals do not
    failed = [] if sys.argv[1:] else ["no picture is named: " + __doc__.splitlines()[0]]
    for path in sys.argv[1:]:
        try:
            print("{}\\t{}\\t{:.4f}\\t{}".format(path, *classify(path)), flush=True)
        except BrokenPipeError:  # `| head`: nobody reads on
            os._exit(1)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            failed.append(f"{path}: {error}")
    sys.exit("\\n".join(failed) or None)
''')

SEVERAL = """\
    pixels = {taken["name"]: pixels_of(path, taken) for taken in ABOUT["inputs"]}
"""
REDUCE = """\
        left = min(picture.size) / (3 * max(height, width))  # a large JPEG is decoded at a half, a quarter, an eighth
        step = max(n for n in (1, 2, 4, 8) if n <= max(1, left))
        picture.draft(None, (picture.width // step, picture.height // step))
"""
# Pillow has the same filter and shrinks the width first, `antialias` the height: in that order 3 values in 1,000 are
# another, by one step of 255, in Pillow's 150.
ANTIALIAS = """\
    picture = picture.resize((picture.width, height), Image.Resampling.BILINEAR)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)"""
BILINEAR = """\
    picture = np.asarray(picture, np.float32)
    for axis, new in enumerate((height, width)):  # between two neighbours, as TensorFlow's `resize` does
        old = picture.shape[axis]
        place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        part = (place - np.floor(place)).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
        low, high = (picture.take(end(place).astype(int), axis) for end in (np.floor, np.ceil))
        picture = low + (high - low) * part"""
STRETCH = "    picture = picture.resize(({width}, {height}), Image.Resampling.{filter})"
WAYS = {
    "antialias": ANTIALIAS,
    "bilinear": BILINEAR,
    "nearest": STRETCH.format(width="width", height="height", filter="NEAREST"),
}
SHORT = """\
    short = min(picture.size)
    size = [{short} if side == short else int({short} * side / short) for side in picture.size]
    picture = picture.resize(size, Image.Resampling.{filter})"""
CROP = """
    left, upper = {half}
    picture = picture.crop((left, upper, left + width, upper + height))"""
HALVES = {
    "floor": "(picture.width - width) // 2, (picture.height - height) // 2",
    "round": "round((picture.width - width) / 2), round((picture.height - height) / 2)",
}


def write_script(output: str, about: About) -> None:
    """Write the script of the export `output` beside it."""
    write_atomically(side_files(output)[1], script_of(about).encode("ascii"))


def script_of(about: About) -> str:
    """The text of the script: it works on the file that it is named after."""
    package, import_runtime, opened, run_one, run_several = RUNTIMES[about.format]
    several = len(about.inputs) > 1
    ways = list(dict.fromkeys(one.resize for one in about.inputs))
    return SCRIPT.substitute(
        package=package,
        import_runtime=import_runtime,
        open=opened,
        taken="path, taken" if several else "path",
        about="taken" if several else "ABOUT",
        several=SEVERAL if several else "",
        run=run_several if several else run_one,
        reduce=_of_ways(ways, {"antialias": REDUCE}, 8),
        resize=_of_ways(ways, {way: _resize(way) for way in ways}, 4).rstrip("\n"),
    )


def _of_ways(ways: list[str], texts: Mapping[str, str], indent: int) -> str:
    """The lines of those ways of resizing that have some, indented so far; of several ways each under its condition."""
    known = {way: texts[way] for way in ways if way in texts}
    if len(ways) == 1:
        return "".join(known.values())
    return "".join(
        f'{" " * indent}if taken["resize"] == {json.dumps(way)}:\n{textwrap.indent(text.rstrip(), "    ")}\n'
        for way, text in known.items()
    )


def _resize(resize: str) -> str:
    """The lines that bring an RGB picture to the size of the input, as `featurize.decoding.decode` does."""
    if resize in WAYS:
        return WAYS[resize]
    crop = Crop.of(resize)
    if crop is None:
        raise ValueError(f"not a way of resizing: {resize!r:.100}")
    name, cut = crop.filter.upper(), CROP.format(half=HALVES[crop.rounding])
    if crop.short:
        return SHORT.format(short=crop.short, filter=name) + cut
    if crop.stretch:
        height, width = crop.stretch
        return STRETCH.format(width=width, height=height, filter=name) + cut
    return STRETCH.format(width="width", height="height", filter=name)
