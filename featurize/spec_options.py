"""What a caller may choose of a spec; `featurize.resolve` says what becomes of it. Imports nothing heavy."""

from typing import TypedDict

DEFAULT_CACHE = ".features"
DEFAULT_BACKBONE = "efficientnet_lite2"
FORMER_DEFAULT = "mobilenet_v2"  # until version 0.2
DEFAULT_RECIPE = "mirror-crops"
ENGINES = ("auto", "openvino", "tensorflow")
LARGEST_SIDE = 4096  # of the input, in pixels: far beyond any of the networks, and still less than the memory
POOLINGS = ("avg", "max", "flatten", "none")


class SpecOptions(TypedDict, total=False):
    """What decides a spec, as people give it: the keyword arguments of `featurize.resolve.resolve`."""

    backbone: str
    pooling: str
    layer: str | None
    size: int | str | tuple[int, int] | None
    weights: str | None
    resize: str
    preprocess: str | None
    precision: str
    stored: str
    engine: str
    isolate: bool
    views: int
    recipe: str


class ClusterOptions(TypedDict, total=False):
    """Who computes: the option of every function of `pipeline` that may compute features or fit heads.

    cluster: "tcp://HOST:8786" (a scheduler of Dask), "ray://HOST:10001" or "ray", "local:N" (processes), see
    `featurize.cluster.connect`. Without it, the backend of `joblib.parallel_config`, or this process.
    through: address such as "s3://bucket/features", or a folder, that workers push their rows to which do not reach the
    cache, and that rows are pulled from. Without it, they send their rows to this process.
    """

    cluster: str | None
    through: str | None
