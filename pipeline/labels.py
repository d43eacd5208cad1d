"""The names under which the tasks of a run are shown, from the compiled pipeline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.nodes import Task


@dataclass(frozen=True)
class Labels:
    """The display names of a pipeline's tasks, and the items of its loop.

    Attributes:
        display: Display name of each task by its name in the compiled pipeline.
        items: Items of the loop if a run does not set them: the default of the only parameter with a list.
    """

    display: Mapping[str, str]
    items: Sequence[Any]

    def label(self, task: Task, parameters: Mapping[str, Any]) -> str:
        """Return the name of a task for a reader, with the item of the loop.

        Args:
            task: A task of the run. The run's pipeline may be older than the compiled one.
            parameters: The parameters that the run sets.
        """
        name = self.display.get(task.name, task.name)
        if task.item is None:
            return name
        items = next((value for value in parameters.values() if isinstance(value, list)), self.items)
        item = items[task.item] if task.item < len(items) else f"item {task.item}"
        text = str(int(item)) if isinstance(item, float) else str(item)
        return f"{name} of class {text}" if text.isdecimal() else f"{name} of {text}"


def read_labels(path: Path) -> Labels:
    """Read the names from a compiled pipeline."""
    spec = next(yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader))
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {}).values()
    defaults = (p.get("defaultValue", ()) for p in parameters if p["parameterType"] == "LIST")
    tasks = (item for dag in _dags(spec) for item in dag["tasks"].items())
    return Labels({name: task["taskInfo"]["name"] for name, task in tasks}, next(defaults, ()))


def _dags(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (part["dag"] for part in (spec["root"], *spec["components"].values()) if "dag" in part)
