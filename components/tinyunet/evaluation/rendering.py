"""The templates of this package and the formats of numbers and texts in them."""

import shlex
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

UNDEFINED = "–"


def render(template: str, **values: object) -> str:
    """Fill a template of the folder `templates`; in HTML all text is escaped."""
    return _environment().get_template(template).render(**values)


def number(value: float | None, digits: int = 3) -> str:
    """Format a score; an undefined one is a dash."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None if a value is None or there are no values."""
    numbers = list(values)
    defined = [value for value in numbers if value is not None]
    return fmean(defined) if defined and len(defined) == len(numbers) else None


def percent(value: float | None) -> str:
    """Format a rate as a percentage; an undefined one is a dash."""
    return UNDEFINED if value is None else f"{100 * value:.1f} %"


def interval(bounds: Sequence[float] | None) -> str:
    """Format both bounds of a rate as percentages; an undefined interval is a dash."""
    return UNDEFINED if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f} %"


def count(value: int) -> str:
    """Format a number with thin spaces between the thousands."""
    return f"{value:,}".replace(",", "\u202f")


def code(text: str) -> str:
    """Return a text that can stand between backticks in Markdown."""
    return " ".join(text.replace("`", "'").split())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(["html"]),  # the names of images come from the user
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "mean": mean,
        "number": number,
        "percent": percent,
        "interval": interval,
        "count": count,
        "code": code,
        "quote": shlex.quote,
    }
    return environment
