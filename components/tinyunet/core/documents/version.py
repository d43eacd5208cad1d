"""The tags of a model version in MLflow's registry."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator

from tinyunet.core.documents.base import READING, JsonObject
from tinyunet.core.errors import UserError
from tinyunet.core.validation import explain


class VersionTags(JsonObject):
    """The facts about a version that the champion rule and a reader of the registry need.

    Attributes:
        model_key: Identity of the evaluated model: another model or another evaluation has another key.
        weights_digest: SHA-256 over all weights; empty in versions of early releases.
        test_digest: Digest of the test images.
        dice_defective: Mean Dice of the defective test images.
        image_ap: Image-level average precision on Test.
        threshold: Pixel threshold, a probability.
        image_threshold: Image threshold, a logit.
        git_revision: Revision of the code that trained the model.
        preset: Name of the preset.
        synthetic: Whether the test images were generated.
    """

    model_config = ConfigDict(strict=False)  # MLflow's tags are strings

    model_key: str = Field(
        default="", validation_alias="tinyunet.model_key", serialization_alias="tinyunet.model_key"
    )
    test_digest: str = "unknown"
    dice_defective: float | None = None
    image_ap: float | None = None
    threshold: float | None = None
    image_threshold: float | None = None
    git_revision: str = ""
    preset: str = ""
    synthetic: bool = False
    weights_digest: str = ""

    @classmethod
    def read(cls, tags: Mapping[str, str]) -> Self:
        """Read the tags of a version; a version that was registered by other means has none of them.

        Raises:
            UserError: if the value of a tag does not fit.
        """
        try:
            return cls.model_validate(dict(tags), context=READING)
        except ValidationError as error:
            key, message = explain(error)
            raise UserError(
                f"the tag {key} of a model version {message}; correct the tag or delete it"
            ) from error

    def tags(self) -> dict[str, str]:
        """Return the tags as MLflow keeps them: strings, an undefined value as an empty one."""
        values = self.model_dump(by_alias=True)
        return {key: "" if value is None else str(value) for key, value in values.items()}

    @field_validator("dice_defective", "image_ap", "threshold", "image_threshold", mode="before")
    @classmethod
    def _empty_is_undefined(cls, value: Any) -> Any:  # noqa: ANN401  a tag or a number
        return None if value == "" else value
