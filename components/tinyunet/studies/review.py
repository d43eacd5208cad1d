"""Study: is a model better after 20 corrected images that it was uncertain of than after 20 random ones?

    python -m tinyunet.studies.review DATA --split 50/10/40

For every seed, a model is trained on a few images. The rest of the images that are not of Test are the stream
of a line, in which few are defective. The server's own `Review` keeps those whose verdict is least certain;
as many are drawn at random. The labels of the data set correct both. Two models are trained anew on the first
images and one of the two folders, joined by `+`, and all models are scored on Test, which nothing else sees.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from tinyunet.core.config import DataConfig, EvalConfig
from tinyunet.core.console import say
from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path
from tinyunet.core.presets import FAST
from tinyunet.data.ingest import ingest
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.data.pictures.decode import encode_png
from tinyunet.launch.launch import launch_local
from tinyunet.training.run import TrainingRun

MODELS = ("first", "random", "chosen")
SCORES = {"dice_defective": "Dice, defective", "pixel_ap": "pixel AP", "image_ap": "image AP"}
WAIT_S = 60.0

Result = dict[str, float]


@dataclass(frozen=True)
class Study:
    """Settings of the study.

    Attributes:
        folder: Output folder.
        patch: Side of the patches in pixels.
        seeds: Number of repetitions.
        steps: Steps of every training.
        first: Number of images that the first model gets.
        kept: Number of corrected images.
        defective: Percentage of defective images in the stream.
    """

    folder: Path
    patch: int = 128
    seeds: int = 3
    steps: int = 400
    first: int = 30
    kept: int = 20
    defective: int = 10


def run_study(study: Study, source: str, options: IngestOptions) -> list[dict[str, Result]]:
    """Train and score the three models of every seed; write review.json and review.md.

    Raises:
        UserError: if the data set has too few images.
        TrainingFailed: if a training ends without a model.
    """
    raw = study.folder / "raw"
    manifest = ingest(source, raw, options)
    train = [file for file in manifest.files if file.split != "test"]
    if len(train) < study.first + 2 * study.kept:
        raise UserError(
            f"{source} has {len(train)} images to train on; expected at least "
            f"{study.first + 2 * study.kept}: give another data set, or smaller --first and --kept"
        )
    results = []
    for seed in range(study.seeds):
        results.append(_repeat(study, manifest, train, seed))
        say(format_table(results))
    with atomic_path(study.folder / "review.json") as part:
        part.write_text(json.dumps(results, indent=1) + "\n")
    with atomic_path(study.folder / "review.md") as part:
        part.write_text(format_table(results) + "\n")
    return results


def format_table(results: Sequence[dict[str, Result]]) -> str:
    """Format the scores as Markdown: the mean over the seeds, and the score of each seed."""
    head = "| | " + " | ".join(SCORES.values()) + " |\n|---|" + "---|" * len(SCORES)
    rows = [head]
    for model in MODELS:
        cells = []
        for score in SCORES:
            values = [result[model][score] for result in results]
            cells.append(f"{mean(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})")
        rows.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _repeat(study: Study, manifest: RawManifest, train: Sequence[RawFile], seed: int) -> dict[str, Result]:
    folder, raw = study.folder / f"seed{seed}", study.folder / "raw"
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(seed)
    first = draw(train, study.first, rng)
    rest = stream([file for file in train if file not in first], study.defective, rng)
    defects = sum(file.defective for file in rest)
    say(f"seed {seed}: {len(first)} first images; {len(rest)} in the stream, {defects} defective")
    base = folder / "base"
    for file in (*first, *(file for file in manifest.files if file.split == "test")):
        _copy(file, raw, base, file.split)
    results = {"first": _train(study, str(base), folder / "first", seed)}
    for file in rest[: study.kept]:
        _copy(file, raw, folder / "random" / "review")
    _keep(study, folder / "first", rest, raw, folder / "chosen" / "review")
    for name in ("random", "chosen"):
        results[name] = _train(study, f"{folder / name / 'review'}+{base}", folder / name, seed)
    return results


def draw(files: Sequence[RawFile], count: int, rng: np.random.Generator) -> list[RawFile]:
    """Return randomly drawn files with the same fraction of defective ones, at least three."""
    defective = max(3, round(count * sum(file.defective for file in files) / len(files)))
    drawn = []
    for flag, number in ((True, defective), (False, count - defective)):
        group = [file for file in files if file.defective == flag]
        drawn += [group[i] for i in rng.permutation(len(group))[:number]]
    return drawn


def stream(files: Sequence[RawFile], percent: int, rng: np.random.Generator) -> list[RawFile]:
    """Return all clean files and so many defective ones that they are `percent` of all, in random order."""
    clean = [file for file in files if not file.defective]
    defective = [file for file in files if file.defective]
    count = max(1, round(len(clean) * percent / (100 - percent)))
    drawn = [defective[i] for i in rng.permutation(len(defective))[:count]]
    both = clean + drawn
    return [both[i] for i in rng.permutation(len(both))]


def _copy(file: RawFile, raw: Path, folder: Path, split: str = "", name: str = "") -> None:
    """Copy an image and its mask, which is all zero for a clean image, in the layout `pairs`."""
    from PIL import Image

    places = [folder / kind / split / f"{name or file.name}.png" for kind in ("images", "masks")]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(raw / file.image, places[0])
    if file.mask:
        shutil.copy(raw / file.mask, places[1])
        return
    with Image.open(places[0]) as image:
        places[1].write_bytes(encode_png(np.zeros((image.height, image.width), np.uint8)))


def _train(study: Study, source: str, folder: Path, seed: int) -> Result:
    """Ingest, convert, train and evaluate, and return the scores on Test."""
    from tinyunet.data.tfrecord import convert
    from tinyunet.evaluation.evaluate import evaluate

    ingest(source, folder / "raw")
    convert(folder / "raw", folder / "records", DataConfig())
    config = FAST.replace({"steps": study.steps, "patch": study.patch, "seed": seed})
    config = config.replace({"validate_every": study.steps})
    launch_local(
        TrainingRun(
            records=str(folder / "records"), out=str(folder / "model"), config=config, run_key=folder.name
        )
    )
    test = evaluate(folder / "model", folder / "records", folder / "evaluation", EvalConfig(overlays=0)).test
    return {name: getattr(test, name) or 0.0 for name in SCORES}


def _keep(study: Study, trained: Path, files: Sequence[RawFile], raw: Path, review: Path) -> None:
    """Show images to the first model as a server does, keep the least certain ones, and correct them."""
    from tinyunet.engine.engine import Engine
    from tinyunet.engine.pictures import decode
    from tinyunet.server.metrics import Metrics
    from tinyunet.server.watching.review import Candidate, Review
    from tinyunet.server.watching.store import FolderStore
    from tinyunet.serving.find import find_engine

    engine = Engine(find_engine(str(trained / "model"), cache=trained / "cache").folder)
    keeper = Review(FolderStore(review), study.kept, Metrics())
    for file in files:
        image = decode((raw / file.image).read_bytes(), engine.document)
        answer = engine.inspect([image])[0]
        threshold = engine.document.image_threshold
        keeper.offer(
            Candidate(image, answer.mask, file.name, answer.score, threshold, answer.defective, (), "first")
        )
        keeper.wait(WAIT_S)
    keeper.close()
    by_name = {file.name: file for file in files}
    for path in (review / "records").iterdir():
        record = json.loads(path.read_text())
        _copy(by_name[record["name"]], raw, review, name=record["key"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tinyunet.studies.review", description=__doc__)
    add = parser.add_argument
    add("source", help="data set")
    add("--category", default="")
    add("--split", default=IngestOptions.split)
    add("--out", type=Path, default=Path("runs/review"))
    for name in ("patch", "seeds", "steps", "first", "kept", "defective"):
        add(f"--{name}", type=int, default=getattr(Study, name))
    values = vars(parser.parse_args(arguments))
    source, out = values.pop("source"), values.pop("out")
    options = IngestOptions(category=values.pop("category"), split=values.pop("split"))
    run_study(Study(folder=out.absolute(), **values), source, options)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"tinyunet: error: {error}") from error
