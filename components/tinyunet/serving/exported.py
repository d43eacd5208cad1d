"""The operating point of a model for serving, from the configuration of its Keras layers."""

from collections.abc import Iterator, Mapping
from typing import Any

from tinyunet.core.errors import UserError
from tinyunet.serving.operating_point import OperatingPoint

OUTPUTS = ("probability", "mask", "score", "defective")
PIXEL_LAYER, IMAGE_LAYER, SCORE_PREFIX = "pixel_threshold", "image_threshold", "score_"
"""Names of layers in models of images of any size, which hold the thresholds and the kind of score."""
Config = Mapping[str, Any]


def read_exported(config: Config, place: str) -> OperatingPoint:
    """Return the thresholds, the score and the poses of a model that `serving_model` made.

    Args:
        config: Configuration of the functional model, as `.keras` files and `get_config` have it.
        place: Path of the model, for messages.

    Raises:
        UserError: if the model is not such a model.
    """
    outputs = config["output_layers"]
    if not set(OUTPUTS) <= set(outputs):
        raise UserError(f"{place} gives {', '.join(outputs)}; expected {', '.join(OUTPUTS)}: export it again")
    layers = {layer["name"]: layer for layer in config["layers"]}
    try:
        return OperatingPoint(
            threshold=_threshold(layers, outputs["mask"][0], PIXEL_LAYER),
            image_threshold=_threshold(layers, outputs["defective"][0], IMAGE_LAYER),
            image_score=_score(layers, outputs["score"][0]),
            test_time_poses=next(
                len(layer["inbound_nodes"])
                for layer in layers.values()
                if layer["class_name"] == "Functional"
            ),
        )
    except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
        raise UserError(
            f"{place} has no thresholds as `tinyunet export` and `tinyunet register` write them; export it "
            "again"
        ) from error


def _threshold(layers: Mapping[str, Config], output: str, named: str) -> float:
    """Return a threshold: the number of the comparison before an output, or of a layer with a name."""
    if named in layers:
        return -float(layers[named]["config"]["offset"])
    comparison = layers[_inputs(layers[output])[0]["keras_history"][0]]
    return float(comparison["inbound_nodes"][0]["args"][1])


def _score(layers: Mapping[str, Config], output: str) -> str:
    """Return the kind of the image score from the layer that computes it."""
    if output.startswith(SCORE_PREFIX):
        return output.removeprefix(SCORE_PREFIX)
    if layers[output]["class_name"] == "Max":
        return "smoothed"
    largest = int(_inputs(layers[output])[0]["shape"][-1])
    return "max" if largest == 1 else "top100"


def _inputs(layer: Config) -> list[Config]:
    """Return the descriptions of the tensors that a layer takes."""
    return list(_tensors(layer["inbound_nodes"]))


def _tensors(node: object) -> Iterator[Config]:
    if isinstance(node, Mapping):
        if node.get("class_name") == "__keras_tensor__":
            yield node["config"]
            return
        node = list(node.values())
    if isinstance(node, list | tuple):
        for part in node:
            yield from _tensors(part)
