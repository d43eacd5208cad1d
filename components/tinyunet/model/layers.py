"""Two layers of TinyUNet that compute the same functions of the same weights with fewer operations.

Each replaces two plain Keras layers. It has the weights of the second one, a `Conv2D`, in the same shapes and
order, so that weights can be copied between the two forms without conversion. Model files contain the plain
form.
"""

from typing import Any

import keras
from keras import ops


class _Convolution(keras.layers.Layer):  # type: ignore[misc]
    """Base class with the weights of a `Conv2D` with "same" padding.

    The kernel is float32 under every dtype policy: sums of its elements are computed in float32, then cast.
    """

    def __init__(self, filters: int, size: int, *, kernel_initializer: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self.filters, self.size, self._initializer = filters, size, kernel_initializer

    def _add_weights(self, channels: int) -> None:
        shape = (self.size, self.size, channels, self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=self._initializer, autocast=False
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def _convolve(self, x: keras.KerasTensor, kernel: keras.KerasTensor) -> keras.KerasTensor:
        return ops.conv(x, ops.cast(kernel, self.compute_dtype), padding="same")

    def _convolve_and_add_bias(self, x: keras.KerasTensor, kernel: keras.KerasTensor) -> keras.KerasTensor:
        return ops.add(self._convolve(x, kernel), ops.reshape(self.bias, (1, 1, 1, self.filters)))


class UpConv2D(_Convolution):
    """`UpSampling2D(2)`, a 2×2 `Conv2D` and ReLU, with 9 instead of 16 kernel elements per 2×2 pixels.

    Neighbouring pixels of an upsampled image are copies of one pixel, so their weights can be summed before
    the convolution. Each input pixel becomes four output pixels: one by a 1×1 convolution, two by 1×2 and 2×1
    convolutions, one by a 2×2 convolution. From (B, S, S, C) to (B, 2S, 2S, filters). Source: W. Shi et al.,
    CVPR 2016, arXiv:1609.05158, which convolves the small image and then rearranges its channels.
    """

    def __init__(self, filters: int, *, kernel_initializer: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(filters, 2, kernel_initializer=kernel_initializer, **options)

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create the kernel (2, 2, C, filters) and the bias."""
        self._add_weights(shape[-1] or 0)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the convolution: (B, S, S, C) to (B, 2S, 2S, filters)."""
        kernels = (ops.sum(self.kernel, 1, keepdims=True), self.kernel)  # of even and odd output columns
        even_rows = [self._convolve_with_relu(x, ops.sum(kernel, 0, keepdims=True)) for kernel in kernels]
        odd_rows = [self._convolve_with_relu(x, kernel) for kernel in kernels]
        rows = [ops.concatenate(even_rows, -1), ops.concatenate(odd_rows, -1)]
        height, width = ops.shape(x)[1:3]
        return ops.reshape(ops.concatenate(rows, 2), (-1, 2 * height, 2 * width, self.filters))

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (B, 2S, 2S, filters)."""
        return (shape[0], *(n and 2 * n for n in shape[1:3]), self.filters)

    def _convolve_with_relu(self, x: keras.KerasTensor, kernel: keras.KerasTensor) -> keras.KerasTensor:
        return ops.relu(self._convolve_and_add_bias(x, kernel))


class JoinedConv2D(_Convolution):
    """`Concatenate`, a `Conv2D` and ReLU, without a concatenated copy of the inputs.

    The convolution of concatenated channels equals the sum of the convolutions of both inputs, each with its
    slice of the kernel. From (B, S, S, C1) and (B, S, S, C2) to (B, S, S, filters).
    """

    def build(self, shapes: list[tuple[int | None, ...]]) -> None:
        """Create the kernel (size, size, C1 + C2, filters) and the bias."""
        self._first_channels = shapes[0][-1] or 0
        self._add_weights(self._first_channels + (shapes[1][-1] or 0))

    def call(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        """Return the convolution: (B, S, S, C1) and (B, S, S, C2) to (B, S, S, filters)."""
        first = self._convolve(inputs[0], self.kernel[:, :, : self._first_channels])
        second = self._convolve_and_add_bias(inputs[1], self.kernel[:, :, self._first_channels :])
        # In this order oneDNN fuses the second convolution, bias, sum and ReLU into one operation.
        return ops.relu(ops.add(first, second))

    def compute_output_shape(self, shapes: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return (B, S, S, filters)."""
        return (*shapes[0][:3], self.filters)
