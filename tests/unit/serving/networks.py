"""A small network with the kinds of layers of model files, which is traced and converted much faster."""

import keras


def small_network(
    size: int | None = None, *, channels: int = 1, scale: float = 1 / 64, offset: float = 0.0
) -> keras.Model:
    """Return an untrained network whose logits differ from pixel to pixel.

    Args:
        size: Side of the images; None for any height and width.
        channels: Channels of the images.
        scale: Factor of the grey levels.
        offset: Number that is added to the scaled grey levels.
    """

    def convolution(x: keras.KerasTensor, filters: int, side: int, **options: str) -> keras.KerasTensor:
        kernel = keras.initializers.HeUniform(seed=side)
        layer = keras.layers.Conv2D(filters, side, padding="same", kernel_initializer=kernel, **options)
        return layer(x)

    images = keras.Input((size, size, channels))
    scaled = keras.layers.Rescaling(scale, offset)(images)
    top = convolution(scaled, 4, 3, activation="relu")
    low = convolution(keras.layers.MaxPooling2D()(top), 8, 3, activation="relu")
    up = convolution(keras.layers.UpSampling2D()(low), 4, 2)
    joined = convolution(keras.layers.Concatenate()([up, top]), 4, 3, activation="relu")
    return keras.Model(images, convolution(joined, 1, 1, name="logits"))
