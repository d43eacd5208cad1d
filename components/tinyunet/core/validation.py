"""What pydantic finds wrong with a value, as the one line that a user reads."""

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
    """Describe the first fault of a validation.

    Args:
        error: What pydantic raised.
        bounds: Limits of the field (`annotated_types`), to name both ends of its range; may be empty.

    Returns:
        The key, with dots between the levels (`splits.train.images`), and "is VALUE; expected …".
    """
    fault = error.errors(include_url=False)[0]
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "missing":
        return key, "is missing; expected a value"
    if fault["type"] == "extra_forbidden":
        return key, "is not known; expected no such key"
    return key, f"is {_short(fault['input'])}; expected {_expected(fault, bounds)}"


def _expected(fault: Any, bounds: Iterable[object]) -> str:  # noqa: ANN401  pydantic's ErrorDetails
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "literal_error":
        return "one of " + re.sub(r"'?(, | or |$)'?", r"\1", context["expected"].lstrip("'")).replace(
            " or ", ", "
        )
    if (limits := _range(bounds)) and (kind.startswith(("greater", "less")) or kind == "finite_number"):
        return limits
    for name in ("ge", "gt", "le", "lt"):
        if name in context:
            return _range([{"ge": Ge, "gt": Gt, "le": Le, "lt": Lt}[name](context[name])])
    return next((text for name, text in TYPES.items() if kind.startswith(name)), fault["msg"])


def _range(bounds: Iterable[object]) -> str:
    """Return the limits of a number in words; empty without limits."""
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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
