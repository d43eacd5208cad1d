"""Progress of a training on rank 0: a bar on a terminal, one line per N steps elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.model.precision import is_emulated

LINES = 25  # lines of a whole run without a terminal
WINDOW_S = 20.0  # the throughput that is shown is an average over this time


class ProgressMeter:
    """Shows step, loss, throughput and remaining time, and measures the throughput.

    Args:
        total: Steps of the whole run.
        start: Steps already taken.
        global_batch: Images per step.
        show: Whether anything is printed; False on ranks other than 0.
    """

    def __init__(self, total: int, *, start: int, global_batch: int, show: bool = True) -> None:
        self._total, self._global_batch, self._show = total, global_batch, show
        self._steps_per_line = max(1, total // LINES)
        self._step, self._time, self._printed_step = start, time.monotonic(), start
        self._recent: list[tuple[int, float]] = []  # (steps, seconds) of the last updates
        self._bar = _bar() if show and sys.stderr.isatty() else None
        self._task = self._bar.add_task("train", total=total, completed=start, note="") if self._bar else None

    def __enter__(self) -> Self:
        """Start the bar, if there is one."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the bar, if there is one."""
        if self._bar:
            self._bar.stop()

    def update(self, step: int, loss: float) -> float:
        """Show that `step` steps are done; return the throughput since the last call in images/s."""
        now = time.monotonic()
        steps, seconds = step - self._step, max(now - self._time, 1e-9)
        self._step, self._time = step, now
        self._recent.append((steps, seconds))
        while len(self._recent) > 1 and sum(seconds for _, seconds in self._recent) > WINDOW_S:
            self._recent.pop(0)
        if self._show:
            self._print(step, loss, sum(n for n, _ in self._recent) / sum(s for _, s in self._recent))
        return steps / seconds * self._global_batch

    def _print(self, step: int, loss: float, steps_per_s: float) -> None:
        throughput = f"{steps_per_s * self._global_batch:.1f} img/s"
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step, note=f"loss {loss:.4f}  {throughput}")
        elif step == self._total or step >= self._printed_step + self._steps_per_line:
            self._printed_step = step
            remaining = (self._total - step) / steps_per_s
            eta = f"{int(remaining // 60)}:{int(remaining % 60):02d}"
            print(f"step {step}/{self._total}  loss {loss:.4f}  {throughput}  ETA {eta}", flush=True)


def print_summary(
    manifest: RecordsManifest,
    config: TrainConfig,
    *,
    start: int,
    ranks: int,
    precision: str,
    defective: NDArray[np.bool_],
) -> None:
    """Print one line about a training that begins.

    Args:
        manifest: Manifest of the records.
        config: The training configuration.
        start: Steps already taken.
        ranks: World size.
        precision: Dtype policy.
        defective: (N,), whether each training image is defective.
    """
    clean = int((~defective).sum())
    without = "" if clean else " (clean_fraction is 0 without them)"
    emulated = " (this CPU emulates it: slower than float32)" if is_emulated(precision) else ""
    print(
        f"training {manifest.title}: {config.preset}, {config.size_text}, steps {start} to {config.steps}, "
        f"global batch {config.global_batch} = {ranks} rank(s) × {config.global_batch // ranks}, "
        f"{precision}{emulated}, "
        f"{int(defective.sum())} defective + {clean} clean images{without}",
        flush=True,
    )


def _bar() -> Progress:
    from rich.console import Console

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
