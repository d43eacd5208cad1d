"""The description of a model that the engine runs: engine.json in an engine folder."""

from typing import ClassVar, Literal

from tinyunet.core.documents.base import DataIdentity, Document, JsonObject


class ServedExample(JsonObject):
    """A generated texture, and the answer of the Keras model to it in float32.

    Attributes:
        height: Height of the texture in pixels.
        width: Width of the texture in pixels.
        seed: Seed of the texture, see `engine.example.texture`.
        score: Image-level score, a logit.
        area: Number of pixels above the pixel threshold.
        mean_probability: Mean of the probabilities of all pixels.
    """

    height: int
    width: int
    seed: int
    score: float
    area: int
    mean_probability: float


class Int8Network(JsonObject):
    """The network whose convolutions compute in int8, and what it loses on validation images.

    Attributes:
        sha256: SHA-256 over network-int8.xml and network-int8.bin, one after the other.
        score: Image-level score of the example, a logit, computed in int8.
        mean_probability: Mean of the probabilities of all pixels of the example, computed in int8.
        dice_loss: Mean Dice of float32 on the defective images, minus that of int8.
        dice_loss_bound: Largest loss with which the network is kept.
        defective_images: Number of these images.
        images: Number of all compared images; on each of them, int8 and float32 give the same verdict.
    """

    sha256: str
    score: float
    mean_probability: float
    dice_loss: float
    dice_loss_bound: float
    defective_images: int
    images: int


class ServedModel(DataIdentity, Document):
    """What turns an image into a mask, a score and a verdict, without Keras.

    Attributes:
        channels: 1 for grey images, 3 for colour images.
        bits: Bits per channel of the images, 8 or 16.
        image_size: Side in pixels to which images are resized; 0 if images are not resized to one size, but
            taken by tiles at `scale`.
        scale: Factor by which the sides of images are reduced before the network.
        threshold: Pixels with a higher probability are defective.
        image_threshold: Images with a higher score, a logit, are defective.
        image_score: `max`, `top100` or `smoothed`.
        test_time_poses: Number of poses whose logits are averaged, 1 to 8.
        weights_digest: SHA-256 over all weights; empty if it is unknown.
        network_sha256: SHA-256 of network.onnx.
        example: The self-check.
        int8: The int8 network; None if there is none.
    """

    FILE: ClassVar[str] = "engine.json"
    MADE_BY: ClassVar[str] = "tinyunet register"
    REMEDY: ClassVar[str] = "register the model again"

    channels: int
    bits: int = 8
    image_size: int = 0
    scale: float = 1.0
    threshold: float
    image_threshold: float
    image_score: Literal["max", "top100", "smoothed"] = "max"
    test_time_poses: int = 1
    weights_digest: str = ""
    network_sha256: str
    example: ServedExample
    int8: Int8Network | None = None
