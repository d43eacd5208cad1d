"""What every configuration shares: checked values, strict construction, plain files."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

import yaml

from tinyunet.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configurations: checked values, stable digest, strict construction."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), hints[field.name])

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, as JSON and MLflow want them."""
        return dataclasses.asdict(self)

    def digest(self) -> str:
        """Give the SHA-256 of the canonical JSON, 12 hex digits."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def replace(self, changes: Mapping[str, Any]) -> Self:
        """Give a copy with some values changed; strings are read as the field's type.

        Raises:
            UserError: for a key that does not exist or a value that does not fit.
        """
        hints = get_type_hints(type(self))
        for key in changes:
            if key not in hints:
                known = ", ".join(sorted(hints))
                raise UserError(f"unknown {type(self).__name__} key {key!r}; known keys: {known}")
        values = {key: _parse(key, value, hints[key]) for key, value in changes.items()}
        return dataclasses.replace(self, **values)


def load_yaml(text: str) -> dict[str, Any]:
    """Read a flat YAML mapping (as KFP passes structured parameters).

    Raises:
        UserError: if the text is not a mapping.
    """
    try:
        value = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise UserError(f"not YAML: {' '.join(str(error).split())}; expected key: value") from error
    if not isinstance(value, dict):
        raise UserError(f"expected a YAML mapping (key: value), got {text.strip()[:80]!r}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UserError: if the file is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; expected a JSON file there") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); make it anew") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def require(ok: bool, name: str, value: object, expected: str) -> None:
    """Raise a UserError that names the value and the expectation, unless `ok`."""
    if not ok:
        raise UserError(f"{name} is {value!r}; expected {expected}")


def _check(name: str, value: Any, hint: Any) -> None:  # noqa: ANN401  any field's value
    if get_origin(hint) is Literal:
        options = get_args(hint)
        require(value in options, name, value, "one of " + ", ".join(map(str, options)))
    else:
        require(type(value) is hint, name, value, _a(hint))


def _parse(name: str, value: Any, hint: Any) -> Any:  # noqa: ANN401  any field's value
    options = get_args(hint)
    kind = type(options[0]) if options else hint
    if kind is bool and isinstance(value, str):
        require(value.lower() in ("true", "false"), name, value, "true or false")
        return value.lower() == "true"
    if isinstance(value, str) or (kind is float and isinstance(value, int)):
        try:
            return kind(value)
        except ValueError as error:
            raise UserError(f"{name} is {value!r}; expected {_a(kind)}") from error
    return value


def _a(kind: type) -> str:
    return f"an {kind.__name__}" if kind is int else f"a {kind.__name__}"
