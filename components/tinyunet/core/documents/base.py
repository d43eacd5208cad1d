"""Read and write documents: JSON files in the folders that the steps exchange."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, ValidationError, ValidationInfo, model_validator

from tinyunet.core.categories import DAGM, class_number, full_name
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path
from tinyunet.core.validation import explain

SCHEMA_VERSION = 1
READING = {"reading": True}  # context that is passed to pydantic when a file is read

Item = TypeVar("Item")
JsonList = Annotated[tuple[Item, ...], Strict(False)]  # a tuple in Python, a list in JSON
Options = dict[str, bool | int | float | str]  # the values of a configuration, as a document records them


class JsonObject(BaseModel):
    """Base class of the documents and of the JSON objects in them.

    If a program creates the object, an unknown key is an error. If a file is read, an unknown key is ignored,
    because a newer version of the program may have written the file.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        protected_namespaces=(),
        validate_by_name=True,
        defer_build=True,  # so that the import is fast
    )

    @model_validator(mode="before")
    @classmethod
    def _ignore_unknown(cls, values: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  any JSON value
        if info.context != READING or not isinstance(values, dict):
            return values
        known = {name for key, field in cls.model_fields.items() for name in (key, field.validation_alias)}
        return {key: value for key, value in values.items() if key in known}


class DataIdentity(JsonObject):
    """Base class of the documents that name a data set.

    Attributes:
        dataset: Name of the data set.
        category: Category of the data set; empty if it has none.
    """

    dataset: str = DAGM
    category: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_class_id(cls, values: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  any JSON value
        """Take the category from `class_id`, which version 0.1.0 wrote."""
        if info.context != READING or not isinstance(values, dict) or "class_id" not in values:
            return values
        return {"category": f"class{values['class_id']}"} | values

    def metadata(self) -> dict[str, Any]:
        """Return the identity and the origin of the data, as the metadata of a pipeline's artifact."""
        return self.model_dump(include={"digest", "dataset", "category", "complete", "synthetic"})

    @property
    def title(self) -> str:
        """Return the name of the data set and its category, for a reader."""
        number = class_number(self.category)
        name = "DAGM2007" if self.dataset == DAGM and number else self.dataset
        return f"{name} class {number}" if number else f"{name} {self.category}".strip()

    @property
    def full_name(self) -> str:
        """Return the name of the data set with its category, as registered models and runs have it."""
        return full_name(self.dataset, self.category)


class Document(JsonObject):
    """Base class of the documents that are stored as files.

    Attributes:
        FILE: Name of the file in its folder.
        MADE_BY: The command that writes the folder.
        REMEDY: What a user can do if the file is invalid.
        INDENT: Number of spaces by which the JSON is indented; None for a single line.
    """

    FILE: ClassVar[str]
    MADE_BY: ClassVar[str]
    REMEDY: ClassVar[str]
    INDENT: ClassVar[int | None] = 1

    schema_version: int = SCHEMA_VERSION

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the document of a folder.

        Raises:
            UserError: if there is none, or it is invalid; the message names the file, the key, its value, and
                what was expected.
        """
        path = folder / cls.FILE
        if not path.is_file():
            raise UserError(f"{folder} holds no {cls.FILE}; expected a folder that `{cls.MADE_BY}` wrote")
        return cls.parse(path.read_bytes(), str(path))

    @classmethod
    def parse(cls, text: bytes, place: str) -> Self:
        """Read the document from the bytes of its file.

        Args:
            text: JSON.
            place: Path or URI of the file, for messages.

        Raises:
            UserError: if the document is invalid; see `read`.
        """
        try:
            values = parse_json(text)
        except ValueError as error:  # the text is not JSON or not UTF-8
            raise UserError(f"{place} is not JSON ({error}); {cls.REMEDY}") from error
        if not isinstance(values, dict):
            raise UserError(f"{place} holds a {type(values).__name__}, expected an object; {cls.REMEDY}")
        if (version := values.get("schema_version")) != SCHEMA_VERSION:
            raise UserError(f"{place} has schema {version}, expected {SCHEMA_VERSION}; {cls.REMEDY}")
        try:
            return cls.model_validate(values, context=READING)
        except ValidationError as error:
            key, message = explain(error)
            if message.startswith("is missing"):
                message = f"is missing; expected a file that `{cls.MADE_BY}` wrote"
            raise UserError(f"{place}: {key} {message}; {cls.REMEDY}") from error
        except UserError as error:  # a configuration in the document is invalid
            raise UserError(f"{place}: {error}; {cls.REMEDY}") from error

    def text(self) -> str:
        """Return the content of the file; the keys have the order of the fields."""
        return json.dumps(self.model_dump(by_alias=True), indent=self.INDENT, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write the document into its folder; the file is written completely or not at all."""
        with atomic_path(folder / self.FILE) as part:
            part.write_text(self.text(), encoding="utf-8")


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401  any JSON value
    """Return the value of a JSON text.

    Raises:
        ValueError: if it is not JSON, not UTF-8, UTF-16 or UTF-32, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
