"""Follow a run that exists to its end: `python -m pipeline.follow --run ID`."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import kfp
import kfp_server_api
import urllib3

from pipeline.kubeflow import API_NAMESPACE, connect, one_line_errors, print_dashboard_url
from pipeline.labels import Labels, read_labels
from pipeline.nodes import FAILED, RUNNING, Task, tasks
from pipeline.options import FollowOptions, KubeflowOptions, parse_follow
from pipeline.pipeline import STEPS
from pipeline.pods import failure_lines, waiting_reasons
from pipeline.upload import compiled_pipeline
from tinyunet.cli.options import run_command
from tinyunet.core.errors import UserError

TERMINAL = ("SUCCEEDED", FAILED, "CANCELED", "SKIPPED")
ENDINGS = {"SUCCEEDED": "succeeded in", FAILED: "failed after", "CANCELED": "terminated after"}
MAX_FAILED_POLLS = 12  # consecutive failures; an API server may need a minute to restart
WAITING_S = 30.0  # a pod that waits longer is reported
LAST_OF_LOOP = STEPS[-1]  # it writes the table of the categories that were evaluated before its end
LOOP_PIPELINE = "tinyunet-classes"  # this pipeline contains the tasks of the other one, too


@dataclass
class Follower:
    """Prints every change of a run and of its tasks.

    Attributes:
        client: Client of the API.
        run_id: Id of the run.
        labels: Names of the tasks.
        namespace: Namespace of the run's pods.
        poll_s: Seconds between two polls.
        printed: State of the run (empty key) and of each task, as printed.
        waiting: Time (monotonic) at which each waiting task was first seen; 0 after it was reported.
    """

    client: kfp.Client
    run_id: str
    labels: Labels
    namespace: str
    poll_s: float
    printed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, float] = field(default_factory=dict)

    def follow(self) -> Any:  # noqa: ANN401  the SDK's class is untyped
        """Print every change until the run has ended, with or without success; return the run.

        The states of the tasks may be a poll behind that of the run.
        """
        while True:
            run = self._poll()
            if run.state in TERMINAL and _is_incomplete(run):
                time.sleep(self.poll_s)
                run = self._poll()
            self._print_changes(run)
            if run.state in TERMINAL:
                return run
            self._report_waiting(run)
            time.sleep(self.poll_s)

    def _poll(self) -> Any:  # noqa: ANN401
        failures = 0
        while True:
            try:
                return self.client.get_run(self.run_id)
            except (kfp_server_api.ApiException, urllib3.exceptions.HTTPError) as error:
                failures += 1
                if getattr(error, "status", 500) < 500 or failures > MAX_FAILED_POLLS:
                    raise
                time.sleep(self.poll_s)

    def _print_changes(self, run: Any) -> None:  # noqa: ANN401
        for task in tasks(run):
            ended = task.state in ENDINGS
            seconds = (task.end - task.start).total_seconds()
            text = _ending(_state(task, run), seconds) if ended else task.state.lower()
            self._print(task.key, self.label(task, run), text, task.end if ended else task.start)
        if run.state in TERMINAL:
            seconds = (run.finished_at - run.created_at).total_seconds()
            self._print("", "run", _ending(outcome(run), seconds), run.finished_at)
        else:
            self._print("", "run", (run.state or "PENDING").lower(), None)

    def _print(self, key: str, label: str, text: str, when: datetime | None) -> None:
        if self.printed.get(key) != text:
            self.printed[key] = text
            moment = when.astimezone() if when else datetime.now().astimezone()
            print(f"{moment:%H:%M:%S}  {label}: {text}", file=sys.stderr, flush=True)

    def _report_waiting(self, run: Any) -> None:  # noqa: ANN401
        """Print once for each task why its pod does not start, if this takes long."""
        now = time.monotonic()
        for task in (task for task in tasks(run) if task.waiting):
            since = self.waiting.setdefault(task.node, now)
            if since and now - since >= WAITING_S:
                self.waiting[task.node] = 0
                why = waiting_reasons(self.run_id, self.namespace).get(task.node)
                text = f"its pod does not start; {why or self.hint('describe pods')}"
                self._print(f"{task.node} waits", self.label(task, run), text, None)

    def label(self, task: Task, run: Any) -> str:  # noqa: ANN401
        """Return the name of a task for a reader."""
        config = run.runtime_config
        parameters: Mapping[str, Any] = (config.parameters if config else None) or {}
        return self.labels.label(task, parameters)

    def hint(self, command: str) -> str:
        """Return the command that shows what this machine could not read."""
        return f"see kubectl -n {self.namespace} {command} -l pipeline/runid={self.run_id}"

    def failures(self, run: Any) -> list[str]:  # noqa: ANN401
        """Return the lines that name every failed task and the end of its log."""
        lines = []
        for task in tasks(run):
            if task.state == FAILED:
                log = failure_lines(self.client, self.run_id, task.node)
                rest = log or [f"its log cannot be read here; {self.hint('logs -c main --tail 20')}"]
                lines += [f"{self.label(task, run)} failed:", *(f"  | {line}" for line in rest)]
        finished = [task for task in tasks(run) if task.name == LAST_OF_LOOP and task.state == "SUCCEEDED"]
        if newest := max(finished, key=lambda task: task.end, default=None):
            lines.append(f"the scores of what succeeded: output `table` of {self.label(newest, run)}")
        return lines


def outcome(run: Any) -> str:  # noqa: ANN401
    """Return the state in which a run ended; a terminated run is CANCELED.

    Kubeflow Pipelines ends a terminated run as FAILED; only the history of its states says what happened.
    """
    states = [status.state for status in run.state_history or ()]
    terminated = run.state == FAILED and states[-2:] == ["CANCELING", FAILED]
    return "CANCELED" if terminated else str(run.state)


def _state(task: Task, run: Any) -> str:  # noqa: ANN401
    """Return the state of a task; the task that ran when its run was terminated is CANCELED."""
    return "CANCELED" if task.state == FAILED and outcome(run) == "CANCELED" else task.state


def _is_incomplete(run: Any) -> bool:  # noqa: ANN401
    """Check whether the states of the tasks contradict the end of the run."""
    states = [task.state for task in tasks(run)]
    return RUNNING in states or (run.state == FAILED and FAILED not in states)


def _ending(state: str, seconds: float) -> str:
    return f"{ENDINGS[state]} {duration(seconds)}" if state in ENDINGS else state.lower()


def duration(seconds: float) -> str:
    """Return a time of whole seconds, such as `16 s`, `8 min 21 s` or `2 h 05 min`."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes_of_hour = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_of_hour:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def follow_to_the_end(client: kfp.Client, run_id: str, options: KubeflowOptions, *, poll_s: float) -> int:
    """Follow a run and report how it ended; return the exit code: 0 only if the run succeeded."""
    labels = read_labels(compiled_pipeline(LOOP_PIPELINE, options.variant))
    namespace = options.namespace or API_NAMESPACE
    follower = Follower(client, run_id, labels, namespace, poll_s)
    try:
        with one_line_errors(options.host, options.namespace):
            run = follower.follow()
            ended = outcome(run)
            failures = follower.failures(run) if ended == FAILED else []
    except KeyboardInterrupt:
        again = f"make pipeline-follow RUN={run_id}"
        print(f"tinyunet: stopped following; the run continues; {again} follows it again", file=sys.stderr)
        return 130
    if ended == "SUCCEEDED":
        return 0
    print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
    how = {"CANCELED": "was terminated", FAILED: "failed"}.get(ended, f"has ended; its state is {ended}")
    print(f"tinyunet: error: run {run_id} {how}", file=sys.stderr)
    return 1


def execute(options: FollowOptions) -> int:
    """Follow the run that the options name; return the exit code."""
    if not options.run:
        raise UserError("no run given; expected the id that make pipeline-run printed: RUN=…")
    with one_line_errors(options.host, options.namespace):
        client = connect(options.host, options.namespace)
        try:
            client.get_run(options.run)
        except kfp_server_api.ApiException as error:
            if error.status == 404:
                server = options.host or "the cluster"
                raise UserError(f"{server} has no run {options.run}; expected the id of a run") from error
            raise
    print_dashboard_url(options.host, f"runs/details/{options.run}")
    return follow_to_the_end(client, options.run, options, poll_s=options.poll_s)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that follows a run; return the exit code."""
    return run_command(lambda: execute(parse_follow(argv, __doc__)))


if __name__ == "__main__":
    sys.exit(main())
