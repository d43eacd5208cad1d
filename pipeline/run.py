"""Upload the pipeline if needed, then start a run on Kubeflow and follow it to its end, or schedule it."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import kfp
import yaml

from pipeline.follow import follow_to_the_end
from pipeline.kubeflow import one_line_errors, print_dashboard_url
from pipeline.options import RunOptions, parse_run
from pipeline.schedule import check_cron, schedule
from pipeline.upload import PipelineVersion, compiled_pipeline, connect_and_upload
from tinyunet.cli.options import run_command
from tinyunet.core.categories import class_category
from tinyunet.core.console import say
from tinyunet.core.errors import UserError
from tinyunet.launch.parameters import check_parameters

# The conversion from text for each type of a pipeline parameter.
CONVERSIONS: Mapping[str, Callable[[str], Any]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
    "LIST": lambda text: _check_categories(_list(text)),
}
EXPECTATIONS = {"LIST": "categories, each once, such as categories=[bottle,cable] or [1,3,5]"}


def parameters(path: Path, pairs: Sequence[str]) -> dict[str, Any]:
    """Convert KEY=VALUE pairs to the types that the compiled pipeline declares, and check the values.

    Raises:
        UserError: for an unknown parameter or a value that does not fit.
    """
    spec = next(yaml.safe_load_all(path.read_text()))
    definitions = spec["root"]["inputDefinitions"]["parameters"]
    types = {name: definition["parameterType"] for name, definition in definitions.items()}
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or key not in types:
            keys = ", ".join(sorted(types))
            raise UserError(f"--param {pair}: expected KEY=VALUE with KEY one of: {keys}")
        try:
            values[key] = CONVERSIONS[types[key]](text)
        except (ValueError, KeyError) as error:
            expected = EXPECTATIONS.get(types[key], f"a value of type {types[key]}")
            raise UserError(f"--param {pair}: expected {expected}") from error
    check_parameters({name: _default(definition) for name, definition in definitions.items()} | values)
    source = values.get("source")
    if source and Path(source).is_dir():
        say(f"source is {source}, a folder of this machine; pods have it only in a volume at this path")
    return values


def _default(definition: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the default of a parameter in its own type; a compiled pipeline stores integers as floats."""
    value, kind = definition["defaultValue"], definition["parameterType"]
    if kind == "LIST":
        return [str(item) for item in value]
    return int(value) if kind == "NUMBER_INTEGER" else value


def _list(text: str) -> object:
    """Read a list in YAML, in which names need no quotation marks; raise ValueError if it is not YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError from error


def _check_categories(value: object) -> list[str]:
    """Return a list of categories; raise ValueError if it is empty or contains a category twice.

    Without this check, the run would fail only at its end. No other parameter is a list.
    """
    if (
        not isinstance(value, list)
        or not value
        or not all(type(item) in (int, str) and item for item in value)
    ):
        raise ValueError
    texts = [str(item) for item in value]
    if len({class_category(text) for text in texts}) < len(texts):
        raise ValueError
    return texts


def start(client: kfp.Client, version: PipelineVersion, options: RunOptions, params: dict[str, Any]) -> str:
    """Start a run of the uploaded version; return its id."""
    experiment = client.create_experiment(options.experiment, namespace=options.namespace or None)
    run = client.run_pipeline(
        experiment.experiment_id,
        f"{options.server_name} {time.strftime('%Y-%m-%d %H:%M:%S')}",
        params=params,
        pipeline_id=version.pipeline_id,
        version_id=version.version_id,
        service_account=options.service_account,
    )
    return str(run.run_id)


def execute(options: RunOptions) -> int:
    """Start and follow a run, or schedule it.

    Returns:
        The exit code: 0 only if everything that the options ask for succeeded.
    """
    params = parameters(compiled_pipeline(options.pipeline, options.variant), options.params)
    if options.cron is not None:
        check_cron(options.cron)
    client, version = connect_and_upload(options)
    if options.cron is not None:
        with one_line_errors(options.host, options.namespace):
            schedule_id, result = schedule(client, version, options, params)
        print(f"schedule {options.cron!r}: {result}")
        print_dashboard_url(options.host, f"recurringrun/details/{schedule_id}")
        return 0
    with one_line_errors(options.host, options.namespace):
        run_id = start(client, version, options, params)
    print(f"run {run_id}: started", flush=True)
    print_dashboard_url(options.host, f"runs/details/{run_id}")
    if not options.follow:
        return 0
    return follow_to_the_end(client, run_id, options, poll_s=options.poll_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that starts or schedules a run; return the exit code."""
    return run_command(lambda: execute(parse_run(argv, __doc__)))


if __name__ == "__main__":
    sys.exit(main())
