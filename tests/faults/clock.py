"""A real-time clock that a test moves for the processes that load it, and for no other ones."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parent / "clock.c"


@dataclass(frozen=True)
class Clock:
    """The clock of the processes that start with `environment`.

    Attributes:
        folder: Folder of the library and of the offset. It must have the same path for the processes.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that uses this clock."""
        return {"LD_PRELOAD": f"{self.folder}/clock.so", "CLOCK_OFFSET": f"{self.folder}/offset"}

    def set(self, seconds: int) -> None:
        """Move the clock of all its processes from the real time; 0 makes it right again."""
        with (self.folder / "offset").open("r+b") as file:
            file.write(seconds.to_bytes(8, "little", signed=True))


def compiled(folder: Path) -> Clock:
    """Compile the library into an existing folder; the clock is right."""
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", folder / "clock.so", SOURCE], check=True)
    (folder / "offset").write_bytes(bytes(8))
    folder.chmod(0o755)
    return Clock(folder)
