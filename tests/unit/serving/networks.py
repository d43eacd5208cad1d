"""A small network with the kinds of layers of model files, which is traced and converted much faster."""

from pathlib import Path

import keras

from tinyunet.serving.serving_model import serving_model


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


def logged_model(folder: Path, metadata: dict[str, float] | None) -> Path:
    """Write a small model for serving as MLflow keeps one, with metadata; return its folder."""
    from mlflow.models import Model

    (folder / "logged" / "data").mkdir(parents=True)
    serving_model(small_network(), 0.5, 0.0, 0).save(folder / "logged" / "data" / "model.keras")
    Model(metadata=metadata).save(folder / "logged" / "MLmodel")
    return folder / "logged"
