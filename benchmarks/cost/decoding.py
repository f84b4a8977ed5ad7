"""What decoding costs, and what the shortcuts in it do to features.

    python benchmarks/cost/decoding.py FOLDER [--weights FILE]

Prints milliseconds a picture on one core: Pillow alone and `featurize.decoding.decode` (SIMD resizing, and JPEGs of
much more pixels than the network takes reduced by the JPEG decoder), for the pictures of FOLDER and for the same
enlarged to 12 megapixels. Then cosines between the features of a full decode by Pillow and those of `decode`, for
mosaics of 16 pictures each (JPEGs of 2000 x 1500), by the size that the JPEG decoder reduced them to, in times the
network's input. `decode` reduces to `REDUCED_TO` times the input or more; "full" is SIMD resizing alone.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections import defaultdict

import numpy as np
from PIL import Image

import featurize.decoding.decode
import pipeline
from featurize.decoding.decode import decode
from featurize.engines.engine import Engine
from featurize.pictures.find_images import find_images
from featurize.pictures.sources import read

SIZE = 224
SIZES = (112, 160, 224)
ROUNDS = 3
MOSAICS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--weights", help="of MobileNetV2; without: nano")
    parser.add_argument("--most", type=int, default=400, help="pictures")
    options = parser.parse_args()
    paths = [path for path in find_images(options.folder).images if path.lower().endswith((".jpg", ".jpeg"))]
    files = [read(path) for path in paths[:: max(1, len(paths) // options.most)]]
    print_costs("as they are", files)
    print_costs("at 12 megapixels", [enlarged(data) for data in files[:10]])
    random = np.random.default_rng(0)
    mosaics = [mosaic([files[i] for i in random.integers(0, len(files), 16)]) for _ in range(MOSAICS)]
    spec = {"backbone": "mobilenet_v2", "weights": options.weights} if options.weights else {"backbone": "nano"}
    print(f"\n{'input':>6} {'reduced to':>10} {'smallest cosine':>16} {'median':>8}")
    with tempfile.TemporaryDirectory() as cache:
        for size in SIZES:
            print_cosines(pipeline.open_extractor(cache, size=size, **spec).engine, mosaics)


def print_costs(what: str, files: list[bytes]) -> None:
    """Milliseconds a picture of Pillow alone and of `decode`, in turns."""
    seconds = defaultdict(list)
    for _ in range(ROUNDS):
        for name, way in (("Pillow", by_pillow), ("decode", decode)):
            start = time.perf_counter()
            for data in files:
                way(data, (SIZE, SIZE))
            seconds[name].append((time.perf_counter() - start) / len(files))
    pillow, ours = (1000 * statistics.median(times) for times in seconds.values())
    print(f"{what} ({len(files)}): Pillow {pillow:.2f} ms, decode {ours:.2f} ms, {pillow / ours:.1f} times as fast")


def print_cosines(engine: Engine, mosaics: list[bytes]) -> None:
    """Cosines of features at the engine's input size, by how far the JPEG decoder reduced the pictures."""
    size = engine.size
    expected = engine(np.stack([by_pillow(data, size) for data in mosaics]))
    for reduced in (1, 2, 4, 8):
        times = 1500 / reduced / size[0]
        if times >= 1:
            featurize.decoding.decode.REDUCED_TO = 10**6 if reduced == 1 else times
            found = engine(np.stack([decode(data, size) for data in mosaics]))
            norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
            cosines = (expected * found).sum(axis=1) / norms
            shown = "full" if reduced == 1 else f"{times:.2f}"
            print(f"{size[0]:6} {shown:>10} {cosines.min():16.5f} {np.median(cosines):8.5f}", flush=True)


def by_pillow(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """A full decode and Pillow's own resizing."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR))


def enlarged(data: bytes) -> bytes:
    """The picture as a JPEG of 4000 x 3000 pixels, with the noise of a camera."""
    with Image.open(io.BytesIO(data)) as picture:
        large = np.asarray(picture.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(0).normal(0, 6, (3000, 4000, 1))
    file = io.BytesIO()
    Image.fromarray(np.clip(large + noise, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def mosaic(files: list[bytes]) -> bytes:
    """Sixteen pictures in one JPEG of 2000 x 1500: as much detail as a photograph of that size."""
    whole = Image.new("RGB", (2000, 1500))
    for place, data in enumerate(files):
        with Image.open(io.BytesIO(data)) as picture:
            tile = picture.convert("RGB").resize((500, 375), Image.Resampling.BICUBIC)
        whole.paste(tile, (place % 4 * 500, place // 4 * 375))
    file = io.BytesIO()
    whole.save(file, "JPEG", quality=92)
    return file.getvalue()


if __name__ == "__main__":
    main()
