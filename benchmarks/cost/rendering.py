"""What a view costs before it passes the network, beside the way that Keras goes.

    python benchmarks/cost/rendering.py

One photograph as a JPEG of 500 x 375 and of 4000 x 3000 pixels, at an input of 224, one thread, ways in turns: medians
of processor time. "decode" is a decode in full; each recipe is one more view of it. The last three are turned, shifted
and zoomed alike: as the recipes do it; bilinearly instead; and by `scipy.ndimage.affine_transform`, as Keras'
`ImageDataGenerator` does it, from a picture of the input's size. "off" is their mean difference, in steps of 255, to a
bilinear rendering 6 times as fine.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import skimage
from PIL import Image

from featurize.decoding.upright_rgb import fit, upright
from featurize.pictures import affine
from featurize.pictures.affine import Drawn, warp
from featurize.pictures.recipes import RECIPES, views_of
from featurize.pictures.views import FINER, render

SIZES = (500, 375), (4000, 3000)
INPUT = (224, 224)
DRAWN = Drawn(33, 0.05, -0.05, 0.2, 0.9, 0.8, True, False, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print("| picture | way | ms | off |\n|---|---|---|---|")
    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as photograph:
        for width, height in SIZES:
            file = io.BytesIO()
            photograph.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            for way, seconds, off in measured(file.getvalue(), rounds):
                print(f"| {width} x {height} | {way} | {1000 * seconds:.1f} | {off} |")


def measured(data: bytes, rounds: int) -> list[tuple[str, float, str]]:
    """(way, median seconds, how far off it is) of each."""
    picture = upright(Image.open(io.BytesIO(data))).rgb

    def shrunk(times: int) -> np.ndarray:
        width, height = (min(old, times * new) for old, new in zip(picture.size, INPUT[::-1], strict=True))
        return np.asarray(fit(picture, (height, width), "antialias"))

    def turned(times: int) -> np.ndarray:
        return np.asarray(fit(Image.fromarray(warp(shrunk(times), DRAWN, INPUT, times, "nearest")), INPUT, "antialias"))

    def bilinear(times: int) -> np.ndarray:
        with mock.patch.object(affine, "_nearest", affine._bilinear):
            return turned(times)

    def as_keras() -> np.ndarray:
        from keras.src.legacy.preprocessing.image import ImageDataGenerator

        drawn = {"theta": DRAWN.theta, "shear": DRAWN.shear, "zx": DRAWN.zoom_across, "zy": DRAWN.zoom_down}
        shifted = {"tx": DRAWN.across * INPUT[1], "ty": DRAWN.down * INPUT[0], "flip_horizontal": DRAWN.mirrored}
        before = np.asarray(fit(picture, INPUT, "antialias"), np.float32)
        return np.asarray(ImageDataGenerator().apply_transform(before, drawn | shifted))

    def of_recipe(views: list[str]) -> Callable[[], object]:
        return lambda: render(picture, views, bytes(32), INPUT, "antialias")

    turning = {"turned": lambda: turned(FINER), "turned bilinearly": lambda: bilinear(FINER), "by Keras": as_keras}
    ways: dict[str, Callable[[], object]] = {
        "decode": lambda: upright(Image.open(io.BytesIO(data))).rgb,
        "the picture itself": lambda: fit(picture, INPUT, "antialias"),
        **{recipe: of_recipe([f"{recipe}-{1 if recipe == 'flip' else 2}"]) for recipe in RECIPES},
        "tutorial-breeds, 8 views": of_recipe(views_of("tutorial-breeds", 8)),
        **turning,
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(1 + rounds):
        for way, run in ways.items():
            start = time.process_time()
            run()
            times[way].append(time.process_time() - start)
    best = bilinear(6).astype(float)
    off = {way: f"{np.abs(run() - best).mean():.2f}" for way, run in turning.items()}
    return [(way, statistics.median(each[1:]), off.get(way, "")) for way, each in times.items()]


if __name__ == "__main__":
    main()
