"""Schedule the pipeline on Kubeflow: one schedule of each pipeline, experiment and cron expression."""

import argparse
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import kfp

from pipeline.kubeflow import server_name
from pipeline.upload import Uploaded
from tinyunet.core.errors import UserError

PAGE = 100


def check_cron(expression: str) -> str:
    """Give the expression back if it has six fields.

    Raises:
        UserError: if it has not.
    """
    if len(expression.split()) != 6:
        raise UserError(
            f"cron is {expression!r}; expected 6 fields, second minute hour day month weekday: '0 0 3 * * *'"
        )
    return expression


def schedule(
    client: kfp.Client, done: Uploaded, options: argparse.Namespace, params: dict[str, Any]
) -> tuple[str, str]:
    """Schedule the uploaded version with these parameters, in place of what was scheduled here before.

    Earlier ones are known by their names. They are disabled, not deleted: they can be enabled again.

    Returns:
        The schedule's id, and what has happened.
    """
    experiment = client.create_experiment(options.experiment, namespace=options.namespace or None)
    name = _name(done, options, params)
    known = [s for s in _enabled(client, experiment.experiment_id) if _is_ours(s, options)]
    same = next((s.recurring_run_id for s in known if s.display_name == name), "")
    kept = same or _create(client, experiment.experiment_id, name, done, options, params)
    earlier = [s.recurring_run_id for s in known if s.recurring_run_id != kept]
    for schedule_id in earlier:
        client.disable_recurring_run(schedule_id)
    said = "already there" if same else "created"
    return kept, f"{said}; {len(earlier)} earlier disabled" if earlier else said


def _name(done: Uploaded, options: argparse.Namespace, params: dict[str, Any]) -> str:
    """Name a schedule after all that it does, so that the same command finds it."""
    rest = json.dumps([params, options.service_account], sort_keys=True)
    digest = hashlib.sha256(rest.encode()).hexdigest()[:8]
    return f"{server_name(options)} {done.version} {options.cron} {digest}"


def _is_ours(known: Any, options: argparse.Namespace) -> bool:  # noqa: ANN401  the SDK's schedule, untyped
    """Tell by its name whether this command made it for this pipeline and cron; once it had no digest."""
    pipeline, cron = re.escape(server_name(options)), re.escape(options.cron)
    name = rf"{pipeline} \S+-[0-9a-f]{{12}} {cron}( [0-9a-f]{{8}})?"
    return re.fullmatch(name, known.display_name or "") is not None


def _enabled(client: kfp.Client, experiment_id: str) -> Iterator[Any]:
    token = ""
    while True:
        page = client.list_recurring_runs(token, PAGE, experiment_id=experiment_id)
        yield from (s for s in page.recurring_runs or () if s.status != "DISABLED")
        token = page.next_page_token
        if not token:
            return


def _create(
    client: kfp.Client,
    experiment_id: str,
    name: str,
    done: Uploaded,
    options: argparse.Namespace,
    params: dict[str, Any],
) -> str:
    made = client.create_recurring_run(
        experiment_id,
        name,
        cron_expression=options.cron,
        no_catchup=True,
        params=params,
        pipeline_id=done.pipeline_id,
        version_id=done.version_id,
        service_account=options.service_account,
    )
    return str(made.recurring_run_id)
