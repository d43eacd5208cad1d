"""What `tinyunet bench` shall measure. Imports no TensorFlow, so a wrong option is told at once."""

from dataclasses import dataclass

from tinyunet.core.config import Config, TrainConfig
from tinyunet.core.errors import require
from tinyunet.core.presets import FAST

GROUPS = ("train", "predict", "input", "split", "ranks", "kernels", "convert", "start", "memory")


@dataclass(frozen=True, kw_only=True)
class BenchConfig(Config):
    """One measurement of a machine.

    Attributes:
        image_size: Side in pixels that the model works on, a multiple of 16.
        rounds: Interleaved repetitions; medians over them are reported.
        seconds: Wall time of each measurement, at least; two calls at least, of start, memory, convert one.
        ranks: Ranks that are compared with one rank; 1 leaves that comparison out.
        only: Groups to measure, separated by commas; empty is all.
    """

    image_size: int = TrainConfig.image_size
    rounds: int = 3
    seconds: float = 2.0
    ranks: int = 2
    only: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        require(0 <= self.seconds < float("inf"), "seconds", self.seconds, "at least 0")
        batch = self.recipe().global_batch
        fits = self.ranks >= 1 and batch % self.ranks == 0
        require(fits, "ranks", self.ranks, f"a divisor of the global batch {batch}")
        for name in self._asked():
            require(name in GROUPS, "group", name, "one of " + ", ".join(GROUPS))

    def groups(self) -> tuple[str, ...]:
        """Give the groups to measure, in order."""
        return tuple(name for name in GROUPS if not self.only or name in self._asked())

    def recipe(self) -> TrainConfig:
        """Give the training that is measured: the fast preset at this size, without an end."""
        return FAST.replace({"image_size": self.image_size, "steps": 10**9})

    def _asked(self) -> list[str]:
        return [name.strip() for name in self.only.split(",")] if self.only else []
