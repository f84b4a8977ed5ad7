"""The same tail, quick to train: the variables of the Keras layers, and what they compute, by faster operations.

Normalisation in inference mode is linear: it becomes part of the kernel of the convolution before it, and maps are
neither multiplied nor summed over for it. 1x1 convolutions are products of matrices, on demand of numbers in bfloat16.
The gradient of a wide depthwise kernel is taken a few columns at a time.
"""

from typing import Any

from featurize.engines.keras_import import import_keras

# Columns of a depthwise kernel whose gradient oneDNN computes fast: for a 5x5 kernel on maps (32, 9, 9, 1248), 5 ms
# for 5x3 of it and 48 ms for all of it at once.
COLUMNS = 3


def quick_tail(tail: Any, precision: str) -> Any:
    """A keras.Model that shares the variables of `tail` and computes the same with `training=False`.

    `tail`: a functional keras.Model on maps of fixed shape. `precision`: float32, or bf16 for what convolutions
    that are not depthwise take and give; everything else is in float32. Normalisation stays that of inference.
    """
    keras = import_keras()
    convolution = _convolution_layer(keras)
    made: dict[int, tuple[Any, Any, Any]] = {}  # by the identity of its output: a convolution, its input, its output

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if type(layer) is keras.layers.BatchNormalization and id(args[0]) in made:
            before, maps, _ = made[id(args[0])]
            linear = before.activation is keras.activations.linear and not kwargs.get("training")
            if linear and layer.axis in (-1, 3):
                return convolution(before, layer, precision)(maps)
        if not _is_plain(keras, layer) or None in args[0].shape[1:]:
            return layer(*args, **kwargs)
        output = convolution(layer, None, precision)(args[0])
        made[id(output)] = layer, args[0], output
        return output

    return keras.models.clone_model(tail, clone_function=lambda layer: layer, call_function=call)


def _is_plain(keras: Any, layer: Any) -> bool:
    """Whether it is a convolution that `_convolution_layer` can stand for."""
    return (
        type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
        and (layer.data_format, layer.compute_dtype) == ("channels_last", "float32")
        and layer.padding in ("same", "valid")
        and (getattr(layer, "groups", 1) == 1 and set(layer.dilation_rate) == {1})
        and (type(layer) is keras.layers.Conv2D or len(set(layer.strides)) == 1)
    )


def _convolution_layer(keras: Any) -> Any:
    """The class of layers that stand for a convolution and, where there is one, the normalisation after it."""
    import tensorflow as tf

    class Convolution(keras.layers.Layer):
        def __init__(self, convolution: Any, normalisation: Any, precision: str):
            super().__init__()
            self.convolution, self.normalisation, self.precision = convolution, normalisation, precision

        def call(self, maps: Any) -> Any:
            kernel, bias = self._folded()
            if type(self.convolution) is keras.layers.DepthwiseConv2D:
                found = depthwise(maps, kernel, self.convolution.strides[0], self.convolution.padding)
            else:
                found = self._multiplied(maps, kernel)
            return self.convolution.activation(found if bias is None else tf.nn.bias_add(found, bias))

        def compute_output_shape(self, shape: Any) -> Any:
            return self.convolution.compute_output_shape(shape)

        def _folded(self) -> tuple[Any, Any]:
            """(kernel, bias or None) of the convolution and the normalisation in one."""
            kernel = tf.convert_to_tensor(self.convolution.kernel)
            bias = tf.convert_to_tensor(self.convolution.bias) if self.convolution.use_bias else None
            if (norm := self.normalisation) is None:
                return kernel, bias
            scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
            scale = scale * norm.gamma if norm.scale else scale
            mean = norm.moving_mean if bias is None else norm.moving_mean - bias
            bias = norm.beta - mean * scale if norm.center else -mean * scale
            wide = type(self.convolution) is keras.layers.DepthwiseConv2D
            return kernel * (tf.reshape(scale, kernel.shape[2:]) if wide else scale), bias

        def _multiplied(self, maps: Any, kernel: Any) -> Any:
            if self.precision == "bf16":
                maps, kernel = tf.cast(maps, tf.bfloat16), tf.cast(kernel, tf.bfloat16)
            if self.convolution.kernel_size == self.convolution.strides == (1, 1):
                rows = tf.reshape(maps, (-1, maps.shape[-1])) @ kernel[0, 0]
                found = tf.reshape(rows, (-1, *maps.shape[1:3], rows.shape[-1]))
            else:
                found = tf.nn.conv2d(maps, kernel, self.convolution.strides, self.convolution.padding.upper())
            return tf.cast(found, tf.float32)

    return Convolution


def depthwise(maps: Any, kernel: Any, stride: int, padding: str) -> Any:
    """`tf.nn.depthwise_conv2d` of tensors (n, h, w, c) and (kh, kw, c, m) with a gradient that is quick to compute.

    padding: same or valid.
    """
    import tensorflow as tf

    height, width = kernel.shape[:2]
    strides = [1, stride, stride, 1]
    options = {"strides": strides, "padding": padding.upper()}
    if width <= COLUMNS:
        return tf.nn.depthwise_conv2d(maps, kernel, **options)
    _, top, bottom = _places(maps.shape[1], height, stride, padding)
    places, left, _ = _places(maps.shape[2], width, stride, padding)

    def of_columns(maps: Any, gradient: Any, start: int) -> Any:
        """The gradient of the columns of the kernel from `start` on, `COLUMNS` of them."""
        first = start - left  # column of the maps that the first of these falls on at the first place
        end = first + (places - 1) * stride + COLUMNS
        beside = max(-first, 0), max(end - maps.shape[2], 0)
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=maps[:, :, max(first, 0) : end],
            filter_sizes=[height, COLUMNS, *kernel.shape[2:]],
            out_backprop=gradient,
            strides=strides,
            padding="EXPLICIT",
            explicit_paddings=[0, 0, top, bottom, *beside, 0, 0],
        )

    @tf.custom_gradient
    def convolve(maps: Any, kernel: Any) -> Any:
        def gradients(gradient: Any) -> tuple[Any, Any]:
            of_maps = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(maps), filter=kernel, out_backprop=gradient, **options
            )
            starts = range(0, width, COLUMNS)
            parts = [
                of_columns(maps, gradient, min(start, width - COLUMNS))[:, max(start + COLUMNS - width, 0) :]
                for start in starts
            ]
            return of_maps, tf.concat(parts, axis=1)

        return tf.nn.depthwise_conv2d(maps, kernel, **options), gradients

    return convolve(maps, kernel)


def _places(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int, int]:
    """(places of a kernel along a side of `size`, rows of zeros before it, and after it), as TensorFlow pads."""
    if padding == "valid":
        return (size - kernel) // stride + 1, 0, 0
    places = -(-size // stride)
    zeros = max((places - 1) * stride + kernel - size, 0)
    return places, zeros // 2, zeros - zeros // 2
