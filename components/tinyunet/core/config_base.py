"""The base class of the configurations, and types of their values."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinyunet.core.errors import UserError, require
from tinyunet.core.validation import explain

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


class Config(BaseModel):
    """Base class of all configurations: immutable, with checked values; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    if not TYPE_CHECKING:  # type checkers see the fields as keyword arguments

        def __init__(self, **values: Any) -> None:  # noqa: ANN401  any field's value
            """Check the values.

            Raises:
                UserError: if a key is unknown or a value is invalid.
            """
            _refuse_unknown(type(self), values)
            try:
                super().__init__(**values)
            except ValidationError as error:
                name = str(error.errors()[0]["loc"][0])
                key, message = explain(error, type(self).model_fields[name].metadata)
                raise UserError(f"{key} {message}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the values as types that JSON and MLflow accept."""
        return self.model_dump()

    def digest(self) -> str:
        """Return the first 12 hex digits of the SHA-256 of the values as JSON with sorted keys."""
        return digest(self.to_dict())

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Return a copy with some values changed; a string is converted to the type of its field.

        Raises:
            UserError: if a key is unknown or a value is invalid.
        """
        _refuse_unknown(type(self), changes)
        fields = type(self).model_fields
        values = {key: _parse(key, value, fields[key].annotation) for key, value in changes.items()}
        return type(self)(**(self.to_dict() | values))


def _refuse_unknown(config: type[Config], values: Mapping[str, object]) -> None:
    for key in values:
        if key not in config.model_fields:
            known = ", ".join(sorted(config.model_fields))
            raise UserError(f"unknown {config.__name__} key {key!r}; known keys: {known}")


def _parse(name: str, value: Any, annotation: Any) -> Any:  # noqa: ANN401  any field's value
    """Convert a string to the type of a field; return other values as they are."""
    options = get_args(annotation)
    kind = type(options[0]) if options else annotation
    if kind is float and type(value) is int:
        return float(value)
    if not isinstance(value, str) or kind is str:
        return value
    if kind is bool:
        require(value.lower() in ("true", "false"), name, value, "true or false")
        return value.lower() == "true"
    try:
        return kind(value)
    except ValueError as error:
        expected = "an int" if kind is int else f"a {kind.__name__}"
        raise UserError(f"{name} is {value!r}; expected {expected}") from error


def digest(values: Mapping[str, Any]) -> str:
    """Return the first 12 hex digits of the SHA-256 of values as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
