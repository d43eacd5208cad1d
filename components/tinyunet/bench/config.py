"""Configuration of `tinyunet bench`; without an import of TensorFlow, so that wrong options fail at once."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tinyunet.core.config import TrainConfig
from tinyunet.core.config_base import Config, Positive
from tinyunet.core.errors import require
from tinyunet.core.presets import FAST

GROUPS = ("train", "predict", "input", "split", "ranks", "kernels", "convert", "start", "memory", "serve")


class BenchConfig(Config):
    """What to measure on a machine.

    Attributes:
        image_size: Side in pixels that the model works on, a multiple of 16.
        rounds: Number of rounds; every round measures all cases, and the medians over rounds are reported.
        seconds: Minimum wall time of each measurement. A measurement makes at least two calls; those of
            start, memory and convert make at least one.
        ranks: World size that is compared with one rank; 1 skips this comparison.
        only: Groups to measure, separated by commas; empty means all.
    """

    image_size: int = FAST.image_size
    rounds: Positive = 3
    seconds: Annotated[float, Field(ge=0)] = 2.0
    ranks: int = 2
    only: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        batch = self.recipe().global_batch
        fits = self.ranks >= 1 and batch % self.ranks == 0
        require(fits, "ranks", self.ranks, f"a divisor of the global batch {batch}")
        for name in self._selected():
            require(name in GROUPS, "group", name, "one of " + ", ".join(GROUPS))
        return self

    def groups(self) -> tuple[str, ...]:
        """Return the groups to measure, in the order of GROUPS."""
        return tuple(name for name in GROUPS if not self.only or name in self._selected())

    def recipe(self) -> TrainConfig:
        """Return the training that is measured: the fast preset at this size, with very many steps."""
        return FAST.replace({"image_size": self.image_size, "steps": 10**9})

    def _selected(self) -> list[str]:
        return [name.strip() for name in self.only.split(",")] if self.only else []
