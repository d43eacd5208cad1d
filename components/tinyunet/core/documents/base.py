"""Reading and writing of documents: JSON files in the folders that the steps exchange."""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Strict, ValidationError, ValidationInfo, model_validator

from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path
from tinyunet.core.validation import explain

SCHEMA_VERSION = 1
READING = {"reading": True}  # pydantic's context while a file is read

Item = TypeVar("Item")
Sequence = Annotated[tuple[Item, ...], Strict(False)]  # a list in JSON
Options = dict[str, bool | int | float | str]  # a recorded configuration


class Part(BaseModel):
    """Base class of documents and of the objects in them.

    An unknown key is an error where a program makes the object, and is ignored where a file is read: a newer
    version may have written it.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        protected_namespaces=(),
        validate_by_name=True,
        defer_build=True,  # keeps the import fast
    )

    @model_validator(mode="before")
    @classmethod
    def _ignore_unknown(cls, values: Any, info: ValidationInfo) -> Any:  # noqa: ANN401  any JSON value
        if info.context != READING or not isinstance(values, dict):
            return values
        known = {name for key, field in cls.model_fields.items() for name in (key, field.validation_alias)}
        return {key: value for key, value in values.items() if key in known}


class Document(Part):
    """Base class of the documents that are files.

    Attributes:
        FILE: Name of the file in its folder.
        MADE_BY: The command that writes the folder.
        REMEDY: What a user can do about a file that does not fit.
        INDENT: Indentation of the file.
    """

    FILE: ClassVar[str]
    MADE_BY: ClassVar[str]
    REMEDY: ClassVar[str]
    INDENT: ClassVar[int] = 1

    schema_version: int = SCHEMA_VERSION

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the document of a folder.

        Raises:
            UserError: if there is none, or it does not fit: naming file, key, value and expectation.
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
            UserError: as `read`.
        """
        try:
            values = json.loads(text)
        except ValueError as error:  # of JSON and of UTF-8
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
        except UserError as error:  # of a configuration in it
            raise UserError(f"{place}: {error}; {cls.REMEDY}") from error

    def text(self) -> str:
        """Return the content of the file; keys stand in the order of the fields."""
        return json.dumps(self.model_dump(by_alias=True), indent=self.INDENT, allow_nan=False) + "\n"

    def write(self, folder: Path) -> None:
        """Write the document into its folder; the file appears complete or not at all."""
        with atomic_path(folder / self.FILE) as part:
            part.write_text(self.text(), encoding="utf-8")
