"""What holds after a fault and the same command again."""

import csv
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.faults.runs import CHECKPOINT_EVERY, STEPS, Example
from tinyunet.storage import s3

QUEUE = "tinyunet.queue."


def state(example: Example) -> dict[str, object]:
    """Return what a command leaves that must not depend on faults."""
    servers = example.servers
    experiment = servers.mlflow("experiments/get-by-name", experiment_name=example.name)["experiment"]
    number = experiment["experiment_id"]
    runs = servers.mlflow("runs/search", experiment_ids=[number]).get("runs", [])
    models = servers.mlflow("logged-models/search", experiment_ids=[number]).get("models", [])
    registered = servers.mlflow("registered-models/get", name=example.name).get("registered_model", {})
    tags = {tag["key"]: tag["value"] for run in runs for tag in run["data"]["tags"]}
    document = newest_model(example)
    with (document.parent / "history.csv").open() as file:
        history = [int(row["step"]) for row in csv.DictReader(file)]
    return {
        "weights": json.loads(document.read_text())["weights_digest"],
        "weights of the run": tags.get("weights_digest"),
        "runs": [run["info"]["status"] for run in runs],
        "logged models": [model["info"]["status"] for model in models],
        "versions": [version["version"] for version in registered.get("latest_versions", [])],
        "aliases": [(alias["alias"], alias["version"]) for alias in registered.get("aliases", [])],
        "queue": [tag["key"] for tag in registered.get("tags", []) if tag["key"].startswith(QUEUE)],
        "history": history,
        "steps in MLflow": logged_steps(example, [run["info"]["run_id"] for run in runs]),
        "artifacts": sorted(re.sub(r"m-[0-9a-f]{32}|[0-9a-f]{32}", "ID", key) for key in objects(number)),
        "unfinished uploads": servers.unfinished_uploads(),
        "unfinished files": sorted(map(str, unfinished(example.folder))),
        "temporary files": sorted(path.name for path in example.tmp.iterdir()),
        "checkpoints": sorted(str(path) for path in example.folder.glob("runs/checkpoints/*")),
    }


def newest_model(example: Example) -> Path:
    latest = (example.folder / "runs" / "latest").resolve()
    (document,) = latest.glob("tinyunet-*/train/model/model.json")
    return document


def logged_steps(example: Example, runs: list[str]) -> list[int]:
    steps: set[int] = set()
    for run in runs:
        answer = example.servers.mlflow("metrics/get-history", run_id=run, metric_key="loss")
        steps |= {int(metric["step"]) for metric in answer.get("metrics", [])}
    return sorted(steps)


def objects(experiment: str) -> list[str]:
    """Return the names of the artifacts of an experiment."""
    return [
        uri.removeprefix(f"s3://mlflow/{experiment}/") for uri in s3.list_objects(f"s3://mlflow/{experiment}")
    ]


def unfinished(folder: Path) -> Iterator[Path]:
    """Return temporary files, parts of outputs, and locks."""
    for pattern in ("*.part", "*.part.*", "*.lock", "*.tmp", "*.build"):
        yield from (path.relative_to(folder) for path in (folder / "runs").rglob(pattern))


def repeated_too_much(example: Example) -> str:
    """Return the sentence that names work which was repeated, beyond one interval of checkpoints."""
    trainings = example.first_steps()
    for (_, reached), (begin, _) in pairwise(trainings):
        if begin < min(reached, STEPS) - CHECKPOINT_EVERY:
            return f"step {reached} was reached, and the next command started after step {begin}"
    return ""
