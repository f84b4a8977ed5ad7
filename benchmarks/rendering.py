"""What a view costs before it passes the network, beside the ways that Keras goes.

    python benchmarks/rendering.py

One photograph as a JPEG of 500 x 375 and of 4000 x 3000 pixels, at an input of 224, one thread, ways in turns: medians
of processor time. "decode" is a decode in full; each recipe is one more view of it. "scipy" turns and shears at the size that the recipe's
own rendering has, by `scipy.ndimage.affine_transform`, which Keras' `ImageDataGenerator` calls.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from scipy import ndimage

from featurize.affine import Drawn, warp
from featurize.recipes import RECIPES, views_of
from featurize.rgb import upright_rgb
from featurize.views import FINER, fit, render

SIZES = (500, 375), (4000, 3000)
INPUT = 224
DRAWN = Drawn(33, 0.1, -0.1, 0.2, 1.1, 0.9, True, False, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    print("| picture | way | ms |\n|---|---|---|")
    with Image.open(Path(skimage.__file__).parent / "data" / "coffee.png") as photograph:
        for width, height in SIZES:
            file = io.BytesIO()
            photograph.convert("RGB").resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            for way, seconds in measured(file.getvalue(), rounds).items():
                print(f"| {width} x {height} | {way} | {1000 * seconds:.1f} |")


def measured(data: bytes, rounds: int) -> dict[str, float]:
    """Median seconds of the processor of each way: other work on the machine does little to them."""
    picture = upright_rgb(Image.open(io.BytesIO(data)))
    side = (INPUT, INPUT)
    finer = np.asarray(fit(picture, (FINER * INPUT, FINER * INPUT), "antialias"))
    ways: dict[str, Callable[[], object]] = {
        "decode": lambda: upright_rgb(Image.open(io.BytesIO(data))),
        "the picture itself": lambda: fit(picture, side, "antialias"),
    }
    for recipe in RECIPES:
        view = views_of(recipe, 1) if recipe == "flip" else views_of(recipe, 2)[1:]
        ways[recipe] = lambda view=view: render(picture, view, bytes(32), side, "antialias")  # type: ignore[misc]
    eight = views_of("tutorial-breeds", 8)
    ways["tutorial-breeds, 8 views"] = lambda: render(picture, eight, bytes(32), side, "antialias")
    ways["of it, turning alone"] = lambda: warp(finer, DRAWN, side, FINER, "nearest")
    ways["scipy, turning alone"] = lambda: turned_by_scipy(finer)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            start = time.process_time()
            run()
            times[way].append(time.process_time() - start)
    return {way: statistics.median(each) for way, each in times.items()}


def turned_by_scipy(pixels: np.ndarray) -> np.ndarray:
    matrix = np.array([[0.9, -0.5], [0.5, 0.8]])
    channels = [ndimage.affine_transform(pixels[..., i], matrix, (3, 4), order=1, mode="nearest") for i in range(3)]
    return np.stack(channels, axis=-1)


if __name__ == "__main__":
    main()
