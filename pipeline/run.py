"""Upload the pipeline if needed, then start a run on Kubeflow and follow it to its end, or schedule it."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import kfp
import kfp_server_api
import urllib3
import yaml

from pipeline.kubeflow import one_line_errors, print_dashboard_url
from pipeline.options import RunOptions, parse_run
from pipeline.schedule import check_cron, schedule
from pipeline.upload import PipelineVersion, compiled_pipeline, connect_and_upload
from tinyunet.cli.options import run_command
from tinyunet.core.errors import UserError
from tinyunet.launch.parameters import check_parameters

TERMINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
# The conversion from text for each type of a pipeline parameter.
CONVERSIONS: Mapping[str, Callable[[str], Any]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
    "LIST": lambda text: _check_classes(json.loads(text)),
}
EXPECTATIONS = {"LIST": "classes from 1 to 10, each once, such as classes=[1,3,5]"}
MAX_FAILED_POLLS = 12  # consecutive failures; an API server may need a minute to restart


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
    return values


def _default(definition: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return the default of a parameter in its own type; a compiled pipeline stores integers as floats."""
    value, kind = definition["defaultValue"], definition["parameterType"]
    if kind == "LIST":
        return [int(item) for item in value]
    return int(value) if kind == "NUMBER_INTEGER" else value


def _check_classes(value: object) -> list[int]:
    """Return a list of classes; raise ValueError if it is empty or contains a class twice or an invalid one.

    Without this check, the run would fail only at its end. No other parameter is a list.
    """
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError
    if not all(type(n) is int and 1 <= n <= 10 for n in value):
        raise ValueError
    return value


def follow(client: kfp.Client, run_id: str, *, poll_s: float) -> Any:  # noqa: ANN401  the SDK's class is untyped
    """Print every change of state until the run has ended, with or without success; return the run."""
    states: dict[str, tuple[str, str]] = {}
    failures = 0
    while True:
        try:
            run = client.get_run(run_id)
            failures = 0
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
            failures += 1
            if getattr(error, "status", 500) < 500 or failures > MAX_FAILED_POLLS:
                raise
            time.sleep(poll_s)
            continue
        _print_changes(run, states)
        if run.state in TERMINAL:
            return run
        time.sleep(poll_s)


def _print_changes(run: Any, states: dict[str, tuple[str, str]]) -> None:  # noqa: ANN401
    """Print the state of the run and of each task if it has changed, and record it in `states`.

    If several tasks have the same name, as in a loop, a number is added to all names except the first.

    Args:
        run: A run of the SDK.
        states: Label and state by task id; the empty id is the run itself.
    """
    tasks = (run.run_details.task_details if run.run_details else None) or []
    current = {t.task_id: (t.display_name, t.state) for t in tasks if t.state and t.display_name}
    for task_id, (name, state) in {**current, "": ("run", run.state or "PENDING")}.items():
        label, previous = states.get(task_id, (_numbered(name, states), ""))
        if state != previous:
            print(f"{time.strftime('%H:%M:%S')}  {label}: {state}", file=sys.stderr, flush=True)
            states[task_id] = (label, state)


def _numbered(name: str, states: Mapping[str, tuple[str, str]]) -> str:
    count = sum(label.split(" #")[0] == name for label, _ in states.values())
    return f"{name} #{count + 1}" if count else name


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
    return _follow_to_the_end(client, run_id, options) if options.follow else 0


def _follow_to_the_end(client: kfp.Client, run_id: str, options: RunOptions) -> int:
    try:
        with one_line_errors(options.host, options.namespace):
            run = follow(client, run_id, poll_s=options.poll_s)
    except KeyboardInterrupt:
        print("tinyunet: stopped following; the run continues", file=sys.stderr)
        return 130
    if run.state == "SUCCEEDED":
        return 0
    reason = f": {run.error.message}" if run.error and run.error.message else ""
    print(f"tinyunet: error: run {run_id} ended as {run.state}{reason}", file=sys.stderr)
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that starts or schedules a run; return the exit code."""
    return run_command(lambda: execute(parse_run(argv, __doc__)))


if __name__ == "__main__":
    sys.exit(main())
