"""Tables of the pages that are made from the code: `python -m tests.repository.generated_tables` renews them.

A table stands below a comment `<!-- table: NAME -->`, with one empty line between.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.repository.documents import ROOT, pages
from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.config_base import Config
from tinyunet.core.presets import PRESETS

MARKED = re.compile(r"<!-- table: (?P<name>[\w-]+) -->\n\n(?P<table>(?:\|.*\n)*)")


def descriptions(config: type[Config]) -> dict[str, str]:
    """Return what the docstring of a configuration says about each field, on one line."""
    text = inspect.getdoc(config) or ""
    fields = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", text.partition("Attributes:\n")[2], re.MULTILINE)
    return {name: " ".join(about.split()) for name, about in fields}


def training_options() -> str:
    """Return the table of all training options: default, the values of the other presets, meaning."""
    meaning, default = descriptions(TrainConfig), TrainConfig()
    rows = []
    for name, value in default.to_dict().items():
        values = {p: getattr(config, name) for p, config in PRESETS.items() if name != "preset"}
        others = [f"{_code(v)} in `{p}`" for p, v in values.items() if v != value]
        rows.append((f"`{name}`", _code(value), ", ".join(others), meaning[name]))
    return table(("option", "default", "other presets", "meaning"), rows)


def options(config: type[Config]) -> str:
    """Return the table of the options of another step."""
    meaning, values = descriptions(config), config().to_dict()
    rows = ((f"`{name}`", _code(value), meaning[name]) for name, value in values.items())
    return table(("option", "default", "meaning"), rows)


def pipeline_parameters() -> str:
    """Return the table of the parameters of the pipelines, as Kubeflow shows them."""
    from pipeline.pipeline import PIPELINES

    inputs = {name: build().component_spec.inputs for name, build in PIPELINES.items()}
    rows = []
    for name, spec in {key: spec for one in inputs.values() for key, spec in one.items()}.items():
        owners = [pipeline for pipeline in inputs if name in inputs[pipeline]]
        only = "" if len(owners) == len(inputs) else f" Only in `{owners[0]}`."
        rows.append((f"`{name}`", _code(spec.default), " ".join(spec.description.split()) + only))
    return table(("parameter", "default", "meaning"), rows)


def _code(value: object) -> str:
    if value == "":
        return "empty"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in lines)


TABLES: dict[str, Callable[[], str]] = {
    "training-options": training_options,
    "conversion-options": lambda: options(DataConfig),
    "evaluation-options": lambda: options(EvalConfig),
    "pipeline-parameters": pipeline_parameters,
}


def renewed(text: str) -> str:
    """Return the text of a page with its generated tables made anew."""
    return MARKED.sub(lambda m: f"<!-- table: {m['name']} -->\n\n{TABLES[m['name']]()}", text)


def marked() -> dict[Path, str]:
    """Return the text of every page that has a generated table."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    return {page: text for page, text in texts.items() if MARKED.search(text)}


def main() -> None:
    """Write the generated tables into the pages."""
    for page, text in marked().items():
        page.write_text(renewed(text), encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
