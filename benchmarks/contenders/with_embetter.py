"""embetter: its `ImageLoader` and `TimmEncoder`.

It always downloads its weights. Here they are random, so that no network is needed: its time counts, not its features.
"""

import sys
import time
from importlib.metadata import version

import timm
from embetter.vision import ImageLoader, TimmEncoder
from job import answer, read_job

NAMES = {"mobilenet_v2": "mobilenetv2_100", "vgg16": "vgg16", "resnet50": "resnet50"}
create_model = timm.create_model


def main() -> None:
    job = read_job()
    if job.backbone not in NAMES:
        sys.exit(f"it is compared on {', '.join(NAMES)}, not on {job.backbone}")
    timm.create_model = lambda name, **options: create_model(name, **options | {"pretrained": False})
    encoder, loader = TimmEncoder(NAMES[job.backbone]), ImageLoader()
    encoder.transform(loader.fit_transform(job.paths[:2]))
    start = time.perf_counter()
    features = encoder.transform(loader.fit_transform(job.paths))
    answer(
        job, features, seconds=time.perf_counter() - start, forward_passes=len(features), version=version("embetter")
    )


if __name__ == "__main__":
    main()
