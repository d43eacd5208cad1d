"""The command-line options of the commands that use a Kubeflow Pipelines API."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from tinyunet.cli.options import Parser


@dataclass(frozen=True, kw_only=True)
class KubeflowOptions:
    """The options that every command has.

    Attributes:
        host: URL of the API; empty is the cluster of this pod or kubeconfig.
        namespace: Profile on multi-user Kubeflow; empty elsewhere.
        variant: Compiled variant of the pipeline: `cpu` or `gpu`.
        pipeline: `tinyunet` or `tinyunet-classes`.
        name: Name of the pipeline on the server; empty is the name of the pipeline.
    """

    host: str = ""
    namespace: str = ""
    variant: str = "cpu"
    pipeline: str = "tinyunet"
    name: str = ""

    @property
    def server_name(self) -> str:
        """Return the name that the pipeline has on the server."""
        return self.name or self.pipeline


@dataclass(frozen=True, kw_only=True)
class FollowOptions(KubeflowOptions):
    """The options of the command that follows a run.

    Attributes:
        run: Id of the run.
        poll_s: Seconds between two polls of the run's state.
    """

    run: str = ""
    poll_s: float = 5.0


@dataclass(frozen=True, kw_only=True)
class RunOptions(KubeflowOptions):
    """The options of the command that starts or schedules a run.

    Attributes:
        experiment: Name of the experiment; it is created if it does not exist.
        params: Parameters of the pipeline, as KEY=VALUE.
        cron: Cron expression of six fields; None starts a run at once.
        service_account: Service account of the run's pods; None is the server's default.
        follow: Wait for the end of the run and print every change of state.
        poll_s: Seconds between two polls of the run's state.
    """

    experiment: str = "tinyunet"
    params: Sequence[str] = ()
    cron: str | None = None
    service_account: str | None = None
    follow: bool = True
    poll_s: float = 5.0


def parse_upload(argv: Sequence[str] | None, description: str | None) -> KubeflowOptions:
    """Read the command line of the upload command."""
    return KubeflowOptions(**vars(_parser("upload", description).parse_args(argv)))


def parse_run(argv: Sequence[str] | None, description: str | None) -> RunOptions:
    """Read the command line of the run command."""
    parser = _parser("run", description)
    add = parser.add_argument
    add("--experiment", help="created if it does not exist")
    add("--param", dest="params", action="append", metavar="KEY=VALUE", help="a parameter of the pipeline")
    add("--cron", help="schedule instead: 6 fields, seconds first, e.g. '0 0 3 * * *'")
    add("--service-account", help="of the run's pods")
    add("--no-follow", dest="follow", action="store_false", help="start the run and do not wait for its end")
    _add_poll(parser)
    return RunOptions(**vars(parser.parse_args(argv)))


def parse_follow(argv: Sequence[str] | None, description: str | None) -> FollowOptions:
    """Read the command line of the command that follows a run."""
    parser = _parser("follow", description)
    parser.add_argument("--run", help="id of the run, as pipeline-run printed it")
    _add_poll(parser)
    return FollowOptions(**vars(parser.parse_args(argv)))


def _add_poll(parser: Parser) -> None:
    parser.add_argument("--poll", dest="poll_s", type=float, help="seconds between two polls of the state")


def _parser(command: str, description: str | None) -> Parser:
    """Return a parser of the common options; an option that is not given is absent from its result."""
    parser = Parser(
        prog=f"python -m pipeline.{command}", description=description, argument_default=argparse.SUPPRESS
    )
    endpoint = os.environ.get("KF_PIPELINES_ENDPOINT", "")
    add = parser.add_argument
    add("--host", default=endpoint, type=lambda url: url.rstrip("/"), help="URL of the API")
    add("--namespace", help="your profile, on multi-user Kubeflow")
    add("--variant", help="which compiled pipeline: cpu or gpu")
    add("--pipeline", help="tinyunet, or tinyunet-classes: several classes and a table of them")
    add("--name", help="name of the pipeline on the server (default: its own)")
    return parser
