"""Describe validation errors of pydantic in one line."""

import re
from collections.abc import Iterable
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError

TYPES = {
    "int": "an int",
    "float": "a float",
    "finite_number": "a finite number",
    "bool": "a bool",
    "string": "a str",
    "tuple": "a list",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
}


def explain(error: ValidationError, bounds: Iterable[object] = ()) -> tuple[str, str]:
    """Describe the first of the errors that pydantic reports.

    Args:
        error: The exception of pydantic.
        bounds: Limits of the field (`annotated_types`), so that the text names both; may be empty.

    Returns:
        The key, with dots between the levels (`splits.train.images`), and "is VALUE; expected …".
    """
    details = error.errors(include_url=False)[0]
    key = ".".join(map(str, details["loc"]))
    if details["type"] == "missing":
        return key, "is missing; expected a value"
    if details["type"] == "extra_forbidden":
        return key, "is an unknown key; remove it"
    return key, f"is {_shorten(details['input'])}; expected {_describe_expected(details, bounds)}"


def _describe_expected(details: Any, bounds: Iterable[object]) -> str:  # noqa: ANN401  pydantic's ErrorDetails
    kind, context = details["type"], details.get("ctx", {})
    if kind == "literal_error":
        return "one of " + re.sub(r"'?(, | or |$)'?", r"\1", context["expected"].lstrip("'")).replace(
            " or ", ", "
        )
    limits = _describe_range(bounds)
    if limits and kind.startswith(("greater", "less")):
        return limits
    if limits and kind == "finite_number":
        return f"{TYPES[kind]}, {limits}"
    for name in ("ge", "gt", "le", "lt"):
        if name in context:
            return _describe_range([{"ge": Ge, "gt": Gt, "le": Le, "lt": Lt}[name](context[name])])
    return next((text for name, text in TYPES.items() if kind.startswith(name)), details["msg"])


def _describe_range(bounds: Iterable[object]) -> str:
    """Return the limits of a number in words, or an empty string if there are none."""
    low, high = None, None
    for bound in bounds:
        if isinstance(bound, Ge | Gt):
            low = bound
        elif isinstance(bound, Le | Lt):
            high = bound
    if isinstance(low, Ge) and high is not None:
        return f"{low.ge} to {high.le}" if isinstance(high, Le) else f"{low.ge} to less than {high.lt}"
    lower = f"at least {low.ge}" if isinstance(low, Ge) else f"more than {low.gt}" if low else ""
    upper = f"at most {high.le}" if isinstance(high, Le) else f"less than {high.lt}" if high else ""
    return " and ".join(filter(None, (lower, upper)))


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
