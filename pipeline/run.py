"""Start a run on Kubeflow and follow it to its end, or schedule it; the pipeline is uploaded if need be."""

import argparse
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

from pipeline.kubeflow import one_line_errors, parser, print_address, server_name
from pipeline.preflight import configuration
from pipeline.schedule import check_cron, schedule
from pipeline.upload import Uploaded, package, upload_from
from tinyunet.core.errors import UserError

TERMINAL = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
READ: Mapping[str, Callable[[str], Any]] = {
    "NUMBER_INTEGER": int,
    "NUMBER_DOUBLE": float,
    "STRING": str,
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
    "LIST": lambda text: _classes(json.loads(text)),
}
KINDS = {"LIST": "classes from 1 to 10, each once, such as classes=[1,3,5]"}
TOLERATED = 12  # failed polls in a row: a minute of an API server that restarts


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    options = parser("run", __doc__)
    options.add_argument("--experiment", default="tinyunet", help="made if it does not exist")
    options.add_argument("--param", dest="params", action="append", default=[], metavar="KEY=VALUE")
    options.add_argument("--cron", help="schedule instead: 6 fields, seconds first, e.g. '0 0 3 * * *'")
    options.add_argument("--service-account", default=None, help="of the run's pods")
    options.add_argument("--no-follow", action="store_true", help="start only")
    options.add_argument("--poll", type=float, default=5.0, help="seconds between two looks at the run")
    return options.parse_args(argv)


def parameters(path: Path, pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE pairs as the types that the compiled pipeline declares, and check what they say.

    Raises:
        UserError: for an unknown parameter or a value that does not fit.
    """
    spec = next(yaml.safe_load_all(path.read_text()))
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    declared = {name: given["parameterType"] for name, given in inputs.items()}
    values = {}
    for pair in pairs:
        key, found, text = pair.partition("=")
        if not found or key not in declared:
            known = ", ".join(sorted(declared))
            raise UserError(f"--param {pair}: expected KEY=VALUE with KEY one of: {known}")
        try:
            values[key] = READ[declared[key]](text)
        except (ValueError, KeyError) as error:
            kind = KINDS.get(declared[key], f"a value of type {declared[key]}")
            raise UserError(f"--param {pair}: expected {kind}") from error
    configuration({name: _default(given) for name, given in inputs.items()} | values)
    return values


def _default(given: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Give a parameter's default as its type; the compiled pipeline writes whole numbers as floats."""
    value, kind = given["defaultValue"], given["parameterType"]
    if kind == "LIST":
        return [int(item) for item in value]
    return int(value) if kind == "NUMBER_INTEGER" else value


def _classes(value: object) -> list[int]:
    """Check the only list there is, the classes: none, or one twice, would fail at the end of the run."""
    if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
        raise ValueError
    if not all(type(n) is int and 1 <= n <= 10 for n in value):
        raise ValueError
    return value


def follow(client: kfp.Client, run_id: str, *, poll: float) -> Any:  # noqa: ANN401  the SDK's run, untyped
    """Print every change of state until the run has ended, whichever way; give the run."""
    seen: dict[str, tuple[str, str]] = {}
    failures = 0
    while True:
        try:
            run = client.get_run(run_id)
            failures = 0
        except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
            failures += 1
            if getattr(error, "status", 500) < 500 or failures > TOLERATED:
                raise
            time.sleep(poll)
            continue
        _print_changes(run, seen)
        if run.state in TERMINAL:
            return run
        time.sleep(poll)


def _print_changes(run: Any, seen: dict[str, tuple[str, str]]) -> None:  # noqa: ANN401
    """Print the tasks whose state is new; of several with one name, as in a loop, the later have a number."""
    tasks = (run.run_details.task_details if run.run_details else None) or []
    states = {t.task_id: (t.display_name, t.state) for t in tasks if t.state and t.display_name}
    for key, (name, state) in {**states, "": ("run", run.state or "PENDING")}.items():
        shown, before = seen.get(key, (_numbered(name, seen), ""))
        if state != before:
            print(f"{time.strftime('%H:%M:%S')}  {shown}: {state}", file=sys.stderr, flush=True)
            seen[key] = (shown, state)


def _numbered(name: str, seen: Mapping[str, tuple[str, str]]) -> str:
    count = sum(shown.split(" #")[0] == name for shown, _ in seen.values())
    return f"{name} #{count + 1}" if count else name


def start(client: kfp.Client, done: Uploaded, options: argparse.Namespace, params: dict[str, Any]) -> str:
    """Start a run of the uploaded version; give its id."""
    experiment = client.create_experiment(options.experiment, namespace=options.namespace or None)
    run = client.run_pipeline(
        experiment.experiment_id,
        f"{server_name(options)} {time.strftime('%Y-%m-%d %H:%M:%S')}",
        params=params,
        pipeline_id=done.pipeline_id,
        version_id=done.version_id,
        service_account=options.service_account,
    )
    return str(run.run_id)


def execute(options: argparse.Namespace) -> int:
    """Do what the command line says; give the exit code: 0 only for a run that succeeded."""
    params = parameters(package(options.pipeline, options.variant), options.params)
    if options.cron is not None:
        check_cron(options.cron)
    client, done = upload_from(options)
    if options.cron is not None:
        with one_line_errors(options.host, options.namespace):
            schedule_id, said = schedule(client, done, options, params)
        print(f"schedule {options.cron!r}: {said}")
        print_address(options.host, f"recurringrun/details/{schedule_id}")
        return 0
    with one_line_errors(options.host, options.namespace):
        run_id = start(client, done, options, params)
    print(f"run {run_id}: started", flush=True)
    print_address(options.host, f"runs/details/{run_id}")
    return 0 if options.no_follow else _follow_to_the_end(client, run_id, options)


def _follow_to_the_end(client: kfp.Client, run_id: str, options: argparse.Namespace) -> int:
    try:
        with one_line_errors(options.host, options.namespace):
            run = follow(client, run_id, poll=options.poll)
    except KeyboardInterrupt:
        print("tinyunet: stopped following; the run goes on", file=sys.stderr)
        return 130
    if run.state == "SUCCEEDED":
        return 0
    reason = f": {run.error.message}" if run.error and run.error.message else ""
    print(f"tinyunet: error: run {run_id} ended as {run.state}{reason}", file=sys.stderr)
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run or schedule; give the exit code."""
    try:
        return execute(parse(argv))
    except UserError as error:
        print(f"tinyunet: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tinyunet: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
