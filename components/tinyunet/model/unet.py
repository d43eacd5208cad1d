"""TinyUNet (NVIDIA U-Net Industrial, `tinyUNet` variant): 1,850,305 parameters, 18.34 GMAC at 512×512.

Source: NVIDIA DeepLearningExamples, TensorFlow/Segmentation/UNet_Industrial, model/unet.py.
"""

import json
from collections.abc import Callable
from itertools import count
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tinyunet.core.errors import UserError
from tinyunet.model.layers import JoinedConv2D, UpConv2D

PARAMETERS = 1_850_305
ENCODER = (32, 32, 64, 128)  # filters of the four blocks that precede a pooling layer
BOTTLENECK = 256
DECODER = ((128, 64), (64, 32), (32, 16))  # filters of the two convolutions of a block
MIXED = ("mixed_bfloat16", "mixed_float16")
COLOUR_PARAMETERS = PARAMETERS + 2 * 3 * 3 * 32  # two more input channels of the first convolution
ZERO_CENTERED = (1 / 127.5, -1.0)  # grey levels 0..255 to -1..1


def build_unet(
    image_size: int | None = None,
    *,
    channels: int = 1,
    seed: int = 0,
    precision: str = "float32",
    scale: float = ZERO_CENTERED[0],
    offset: float = ZERO_CENTERED[1],
    plain: bool = False,
) -> keras.Model:
    """Build TinyUNet with He-uniform kernels and zero biases.

    Args:
        image_size: Side in pixels, a multiple of 16; None accepts all such heights and widths.
        channels: 1 for grey images, 3 for colour images.
        seed: Seed of the initial weights.
        precision: Keras dtype policy of the hidden layers. Input scaling and logits are always float32.
        scale: Factor by which the grey levels are multiplied.
        offset: Number that is added to the scaled grey levels.
        plain: Whether to use only Keras' own layers, as published. Model files have this form, because it can
            be loaded without this package. Otherwise the layers of `model.layers` are used. They compute the
            same functions of the same weights, and are faster on a CPU.

    Returns:
        A model that maps grey levels (B, S, S, channels) float32, 0..255 or 0..65535 as in the images, to
        logits (B, S, S, 1) float32.
    """
    block = _Blocks(seed, keras.DTypePolicy(precision), plain=plain)
    inputs = keras.Input((image_size, image_size, channels), name="grey")
    x = layers.Rescaling(scale, offset, dtype="float32", name="normalize")(inputs)
    skips = []
    for level, filters in enumerate(ENCODER):
        x = block.conv_pair(x, (filters, filters), f"encoder{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, dtype=block.policy, name=f"encoder{level}_pool")(x)
    x = block.conv_pair(x, (BOTTLENECK, BOTTLENECK), "bottleneck")
    x = block.upsample(x, BOTTLENECK // 2, "bottleneck")
    for level, pair in zip((3, 2, 1), DECODER, strict=True):
        x = block.conv_pair((x, skips[level]), pair, f"decoder{level}")
        x = block.upsample(x, pair[1], f"decoder{level}")
    x = block.conv_pair((x, skips[0]), (32, 32), "decoder0")
    logits = block.conv(x, 1, 1, "logits", activation=None, dtype="float32")
    return keras.Model(inputs, logits, name="tinyunet")


def rebuild(model: keras.Model, *, precision: str | None = None, plain: bool = False) -> keras.Model:
    """Return a TinyUNet with the same weights in the other form (see `plain`), or with another dtype policy.

    Args:
        model: A model made by `build_unet` or read from a file.
        precision: Dtype policy; None stands for the policy of the model.
        plain: See `build_unet`.

    Raises:
        UserError: if the layers or the weights are not those of a TinyUNet.
    """
    try:
        normalize = model.get_layer("normalize")
        rebuilt = build_unet(
            model.input_shape[1],
            channels=model.input_shape[3],
            precision=precision or model.get_layer("bottleneck_conv1").dtype_policy.name,
            scale=normalize.scale,
            offset=normalize.offset,
            plain=plain,
        )
        rebuilt.set_weights(model.get_weights())
    except (ValueError, AttributeError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise UserError(
            f"the model {model.name!r} is not a TinyUNet ({reason}); use a model that `tinyunet train` wrote"
        ) from error
    return rebuilt


def convert_to_float32(model: keras.Model) -> keras.Model:
    """Return a copy of a plain model (see `build_unet`) with every layer in float32."""
    text = json.dumps(keras.saving.serialize_keras_object(model))
    for policy in MIXED:
        text = text.replace(f'"{policy}"', '"float32"')
    converted = keras.saving.deserialize_keras_object(json.loads(text))
    converted.set_weights(model.get_weights())
    return converted


Forward = Callable[[tf.Tensor], tf.Tensor]


def forward_function(model: keras.Model) -> Forward:
    """Return the compiled forward pass.

    Returns:
        A function from grey images (B, H, W) or colour images (B, H, W, 3), of any number type, to logits
        (B, H, W, 1) float32.
    """

    def forward(images: tf.Tensor) -> tf.Tensor:
        levels = tf.cast(images, tf.float32)
        return model(levels if images.shape.rank == 4 else levels[..., None], training=False)

    return tf.function(forward, reduce_retracing=True)  # type: ignore[no-any-return]


class _Blocks:
    """Creates the layers with their names and seeds, in one dtype policy and one form (see `plain`)."""

    def __init__(self, seed: int, policy: keras.DTypePolicy, *, plain: bool) -> None:
        self.policy = policy
        self._plain = plain
        self._seeds = count(1000 * seed)

    def conv(
        self,
        x: keras.KerasTensor,
        filters: int,
        size: int,
        name: str,
        *,
        activation: str | None = "relu",
        dtype: keras.DTypePolicy | str | None = None,
    ) -> keras.KerasTensor:
        return layers.Conv2D(
            filters,
            size,
            padding="same",
            activation=activation,
            kernel_initializer=self._initializer(),
            dtype=dtype or self.policy,
            name=name,
        )(x)

    def conv_pair(
        self, x: keras.KerasTensor | tuple[keras.KerasTensor, ...], filters: tuple[int, int], name: str
    ) -> keras.KerasTensor:
        """Apply two convolutions to `x`; the channels of two tensors are concatenated first."""
        x = (
            self._concatenate_and_conv(x, filters[0], name)
            if isinstance(x, tuple)
            else self.conv(x, filters[0], 3, f"{name}_conv1")
        )
        return self.conv(x, filters[1], 3, f"{name}_conv2")

    def upsample(self, x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
        """Double the side of `x`, then apply a convolution."""
        if self._plain:
            x = layers.UpSampling2D(2, dtype=self.policy, name=f"{name}_up")(x)
            return self.conv(x, filters, 2, f"{name}_up_conv")
        return UpConv2D(filters, **self._layer_options(f"{name}_up_conv"))(x)

    def _concatenate_and_conv(
        self, pair: tuple[keras.KerasTensor, ...], filters: int, name: str
    ) -> keras.KerasTensor:
        if self._plain:
            x = layers.Concatenate(dtype=self.policy, name=f"{name}_concat")(list(pair))
            return self.conv(x, filters, 3, f"{name}_conv1")
        return JoinedConv2D(filters, 3, **self._layer_options(f"{name}_conv1"))(list(pair))

    def _layer_options(self, name: str) -> dict[str, Any]:
        return {"kernel_initializer": self._initializer(), "dtype": self.policy, "name": name}

    def _initializer(self) -> keras.initializers.Initializer:
        return keras.initializers.HeUniform(seed=next(self._seeds))
