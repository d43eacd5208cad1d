"""Schedule the pipeline on Kubeflow: one schedule of each pipeline, experiment and cron expression."""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

import kfp

from pipeline.options import RunOptions
from pipeline.upload import PipelineVersion
from tinyunet.core.errors import UserError

PAGE_SIZE = 100


def check_cron(expression: str) -> None:
    """Check that a cron expression has six fields.

    Raises:
        UserError: if it does not.
    """
    if len(expression.split()) != 6:
        raise UserError(
            f"cron is {expression!r}; expected 6 fields, second minute hour day month weekday: '0 0 3 * * *'"
        )


def schedule(
    client: kfp.Client, version: PipelineVersion, options: RunOptions, params: dict[str, Any]
) -> tuple[str, str]:
    """Schedule the uploaded version with these parameters; it replaces the earlier schedules.

    The earlier schedules are found by their names. They are disabled, not deleted, so that a user can enable
    them again.

    Returns:
        The id of the schedule, and a description of what was done.
    """
    experiment = client.create_experiment(options.experiment, namespace=options.namespace or None)
    name = _schedule_name(version, options, params)
    enabled = [s for s in _enabled(client, experiment.experiment_id) if _is_replaceable(s, options)]
    existing_id = next((s.recurring_run_id for s in enabled if s.display_name == name), "")
    schedule_id = existing_id or _create(client, experiment.experiment_id, name, version, options, params)
    earlier_ids = [s.recurring_run_id for s in enabled if s.recurring_run_id != schedule_id]
    for earlier_id in earlier_ids:
        client.disable_recurring_run(earlier_id)
    result = "already there" if existing_id else "created"
    return schedule_id, f"{result}; {len(earlier_ids)} earlier disabled" if earlier_ids else result


def _schedule_name(version: PipelineVersion, options: RunOptions, params: dict[str, Any]) -> str:
    """Return a name that identifies all properties of a schedule, so that the same command finds it again."""
    properties = json.dumps([params, options.service_account], sort_keys=True)
    digest = hashlib.sha256(properties.encode()).hexdigest()[:8]
    return f"{options.server_name} {version.name} {options.cron} {digest}"


def _is_replaceable(existing: Any, options: RunOptions) -> bool:  # noqa: ANN401  the SDK's class is untyped
    """Check by its name whether a schedule was made by this command for the same pipeline and cron.

    The names of old schedules have no digest.
    """
    pipeline, cron = re.escape(options.server_name), re.escape(options.cron or "")
    name = rf"{pipeline} \S+-[0-9a-f]{{12}} {cron}( [0-9a-f]{{8}})?"
    return re.fullmatch(name, existing.display_name or "") is not None


def _enabled(client: kfp.Client, experiment_id: str) -> Iterator[Any]:
    """Yield every enabled schedule of an experiment."""
    token = ""
    while True:
        page = client.list_recurring_runs(token, PAGE_SIZE, experiment_id=experiment_id)
        yield from (s for s in page.recurring_runs or () if s.status != "DISABLED")
        token = page.next_page_token
        if not token:
            return


def _create(
    client: kfp.Client,
    experiment_id: str,
    name: str,
    version: PipelineVersion,
    options: RunOptions,
    params: dict[str, Any],
) -> str:
    created = client.create_recurring_run(
        experiment_id,
        name,
        cron_expression=options.cron,
        no_catchup=True,
        params=params,
        pipeline_id=version.pipeline_id,
        version_id=version.version_id,
        service_account=options.service_account,
    )
    return str(created.recurring_run_id)
