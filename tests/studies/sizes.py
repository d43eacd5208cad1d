"""Three studies of size on generated images: tiny defects, one large image, and many images.

    python -m tests.studies.sizes tiny --out folder
    python -m tests.studies.sizes large --out folder --model folder/tiny/patch
    python -m tests.studies.sizes many --out folder

They are: 40 images of 2,048² with defects of at most 12 pixels, trained on patches and resized; the
prediction and the evaluation of one image of 16,384²; and 40,000 images of 512² with two ranks, which need
13 GB of disk.
Each one writes folder/<name>/result.json and prints it. The commands of `tinyunet` run as a user starts them;
each of their processes may use 2 GiB. Folders that are complete are not made again.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.studies import pictures
from tests.studies.memory import LIMIT, Run, run_limited

Result = dict[str, Any]
HELD_OUT = 200  # images of validation, and of test, in the study of many images


def tinyunet(*arguments: str | Path, limit: int = LIMIT) -> Run:
    """Run a command of the package as a user does, with limited memory and without MLflow's own database."""
    command = [sys.executable, "-m", "tinyunet", *map(str, arguments)]
    out = Path(command[command.index("--out") + 1])
    return run_limited(command, limit, {"MLFLOW_TRACKING_URI": f"sqlite:///{out.parent.resolve()}/mlflow.db"})


def generate(source: Path, *, samples: list[pictures.Sample], draw: Any) -> None:
    """Write the images of a study, unless an earlier run has written all of them."""
    done = source.with_name("source.done")
    if not done.is_file():
        shutil.rmtree(source, ignore_errors=True)
        pictures.write_samples(source, samples, draw)
        done.touch()


def study_tiny(folder: Path, *, side: int, seed: int, steps: int) -> Result:
    """Compare patches at native resolution with resized images, on scratches of at most 12 pixels.

    The resized images are trained with `steps` steps of 4 images: a step of 16 takes 5.6 s on 2 cores.
    """
    source, records = folder / "source", folder / "records"
    samples = pictures.list_samples(train=24, test=16)
    generate(source, samples=samples, draw=partial(pictures.scratched, side=side))
    if not records.is_dir():
        tinyunet("ingest", source, "--out", folder / "raw", "--name", "scratches")
        tinyunet("convert", folder / "raw", "--out", records)
    from tests.studies.judging import judge  # imports TensorFlow

    result: Result = {}
    resized = ("--image-size", str(side // 4), "--steps", str(steps), "--set", "global_batch=4")
    for name, options in (("patch", ()), ("resized", resized)):
        model = folder / name if not seed else folder / f"{name}-seed{seed}"
        run = tinyunet("train", records, "--out", model, "--seed", str(seed), *options, limit=4 * LIMIT)
        result[name] = {"training": run.summary(), **judge(model, records)}
    return result


def study_large(folder: Path, *, model: Path, side: int) -> Result:
    """Predict and evaluate one large image with a patch model.

    The conversion of the model for the engine, `ingest` and `convert` are not limited to 2 GiB.
    """
    images = folder / f"{side}.png"
    if not images.is_file():
        pictures.write_large(images, side)
    small = folder / "small.png"
    pictures.write_large(small, 64)
    first = tinyunet("predict", small, "--model", model, "--out", folder / "first", limit=4 * LIMIT)
    run = tinyunet("predict", images, "--model", model, "--out", folder / "predictions")
    progress = [line for _, line in run.lines if "tiles" in line]
    source, records = folder / "source", folder / "records"
    if not records.is_dir():
        shutil.rmtree(source, ignore_errors=True)
        pictures.write_set_around(source, images, side)
        tinyunet("ingest", source, "--out", folder / "raw", "--name", "scratches", limit=4 * LIMIT)
        tinyunet("convert", folder / "raw", "--out", records, limit=4 * LIMIT)
    evaluation = tinyunet("evaluate", model, records, "--out", folder / "evaluation")
    return {
        "with_conversion": first.summary(),
        "prediction": run.summary(),
        "evaluation": evaluation.summary(),
        "lines_of_progress": len(progress),
        "last_progress": progress[-1] if progress else None,
    }


def study_many(folder: Path, *, images: int, ranks: int, steps: int) -> Result:
    """Ingest, convert, train and evaluate many images of 512²; the sources are deleted when they are read."""
    source, raw, records, model = (folder / name for name in ("source", "raw", "records", "model"))
    held_out = min(HELD_OUT, images // 10)
    samples = pictures.list_samples(images - 2 * held_out, held_out, held_out, clean_every=-10)
    runs: dict[str, Run] = {}
    if not records.is_dir():
        if not raw.is_dir():
            generate(source, samples=samples, draw=pictures.coarse)
            runs["ingest"] = tinyunet("ingest", source, "--out", raw, "--name", "many")
            shutil.rmtree(source)
        runs["convert"] = tinyunet("convert", raw, "--out", records)
        shutil.rmtree(raw)
    settings = ["patch=64", "global_batch=8", f"steps={steps}"]
    options = [option for setting in settings for option in ("--set", setting)]
    runs["train"] = tinyunet("train", records, "--out", model, "--ranks", str(ranks), *options)
    runs["evaluate"] = tinyunet("evaluate", model, records, "--out", folder / "evaluation")
    return {
        "images": images,
        "bytes_of_records": sum(path.stat().st_size for path in records.iterdir()),
        "seconds_to_step_10": runs["train"].first("step 10/"),
        **{name: run.summary() for name, run in runs.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    studies = parser.add_subparsers(dest="study", required=True)
    options: dict[str, dict[str, int]] = {
        "tiny": {"side": 2048, "seed": 0, "steps": 300},
        "large": {"side": 16384},
        "many": {"images": 40_000, "ranks": 2, "steps": 50},
    }
    for name, numbers in options.items():
        study = studies.add_parser(name)
        study.add_argument("--out", type=Path, required=True)
        for option, default in numbers.items():
            study.add_argument(f"--{option}", type=int, default=default)
    studies.choices["large"].add_argument("--model", type=Path, required=True)
    arguments = vars(parser.parse_args())
    name = arguments.pop("study")
    folder = arguments.pop("out") / name
    folder.mkdir(parents=True, exist_ok=True)
    functions: dict[str, Callable[..., Result]] = {
        "tiny": study_tiny,
        "large": study_large,
        "many": study_many,
    }
    text = json.dumps(functions[name](folder, **arguments), indent=1)
    (folder / "result.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
