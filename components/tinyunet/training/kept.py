"""What a pipeline run on this machine leaves to the same run started again, until it has come to its end."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinyunet.config import TrainConfig
from tinyunet.files import whole, writing
from tinyunet.schema import read_json
from tinyunet.training import artifact

ROOT = Path("runs/checkpoints")  # of the folder that runs are started in
MODEL = "model"  # link to a finished model, beside the checkpoints that it replaced


def place(config: TrainConfig, records: str) -> Path:
    """Give the folder for trainings of this configuration on these records, a local folder."""
    same = TrainConfig(**config.fixed()).digest()
    digest = str(read_json(Path(records) / "manifest.json")["digest"])
    return ROOT.resolve() / f"{same}-{digest[:12]}"


def keep(kept: Path, model: str) -> None:
    """Remember the folder of a model whose run has not come to its end."""
    kept.mkdir(parents=True, exist_ok=True)
    link = kept / MODEL
    link.unlink(missing_ok=True)
    link.symlink_to(Path(model).resolve())


def take_up(kept: Path, out: str) -> dict[str, Any] | None:
    """Copy the model of a run that did not come to its end; give its model.json, None if there is none."""
    model = (kept / MODEL).resolve()
    if not model.is_dir() or not (summary := artifact.finished(str(model))):
        return None
    with writing(Path(out)), whole(Path(out)) as part:
        shutil.copytree(model, part)
    print(f"{model} is this training's model already; its run ended later: nothing to do", flush=True)
    return summary


def forget(folder: Path) -> None:
    """Forget the models in the folder of a run that has come to its end."""
    for link in ROOT.glob(f"*/{MODEL}"):
        if link.resolve().is_relative_to(folder.resolve()):
            link.unlink()
            with suppress(OSError):  # checkpoints of a second training
                link.parent.rmdir()
