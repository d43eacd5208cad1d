"""What the image threshold has to achieve on validation: a rate or the smallest cost, given as a text."""

import math
from dataclasses import dataclass
from typing import Literal

from tinyunet.core.errors import UserError, require

RATES = ("tpr", "tnr")
TARGET_FORM = "tpr=RATE or tnr=RATE with 0 < RATE ≤ 1, for example tnr=0.999"
COST_FORM = "miss=COST,stop=COST with costs above 0, for example miss=10,stop=1"


@dataclass(frozen=True)
class Target:
    """A rate that has to be reached.

    Attributes:
        rate: `tpr`, the rate of defective images that are flagged, or `tnr`, of clean images that pass.
        least: Smallest value, more than 0 and at most 1.
    """

    rate: Literal["tpr", "tnr"]
    least: float


@dataclass(frozen=True)
class Cost:
    """The cost of a defective part that passes, and of a clean part that is stopped, in the same unit."""

    miss: float
    stop: float


def parse_target(text: str) -> Target:
    """Read a target.

    >>> parse_target("tnr=0.999")
    Target(rate='tnr', least=0.999)

    Raises:
        UserError: if the text has another form.
    """
    rate, _, value = text.partition("=")
    least = _number(value)
    require(rate in RATES and 0 < least <= 1, "target", text, TARGET_FORM)
    return Target("tpr" if rate == "tpr" else "tnr", least)


def parse_cost(text: str) -> Cost:
    """Read the costs of both errors, in any order.

    >>> parse_cost("miss=10,stop=1")
    Cost(miss=10.0, stop=1.0)

    Raises:
        UserError: if the text has another form.
    """
    pairs = [part.strip().partition("=") for part in text.split(",")]
    costs = {name: _number(value) for name, _, value in pairs}
    valid = (
        len(pairs) == 2 and set(costs) == {"miss", "stop"} and all(0 < c < math.inf for c in costs.values())
    )
    require(valid, "cost", text, COST_FORM)
    return Cost(**costs)


def check_goal(target: str, cost: str) -> None:
    """Check a target and costs; an empty text stands for none.

    Raises:
        UserError: if one has another form, or both are given.
    """
    if target and cost:
        raise UserError(f"target is {target!r} and cost is {cost!r}; expected one of them: leave one out")
    if target:
        parse_target(target)
    if cost:
        parse_cost(cost)


def _number(text: str) -> float:
    """Return a number, or NaN if the text is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
