"""Upload the compiled pipeline; its version is named after the content: a second upload changes nothing."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kfp
import kfp_server_api

from pipeline.compile import BUILD
from pipeline.kubeflow import connect, one_line_errors, print_dashboard_url
from pipeline.options import KubeflowOptions, parse_upload
from pipeline.pipeline import PIPELINES
from pipeline.resources import VARIANTS
from tinyunet import __version__
from tinyunet.cli.options import run_command
from tinyunet.core.errors import UserError

CONFLICT = 409  # HTTP status for something that exists already


@dataclass(frozen=True)
class PipelineVersion:
    """A pipeline version on the server.

    Attributes:
        pipeline_id: The server's id of the pipeline.
        version_id: The server's id of the version.
        name: Name of the version.
        created: False if the version existed before.
    """

    pipeline_id: str
    version_id: str
    name: str
    created: bool


def compiled_pipeline(pipeline: str, variant: str) -> Path:
    """Return the file of a compiled pipeline.

    Raises:
        UserError: if there is no such pipeline or variant, or it was not compiled.
    """
    if pipeline not in PIPELINES:
        raise UserError(f"pipeline is {pipeline!r}; expected one of: {', '.join(PIPELINES)}")
    if variant not in VARIANTS:
        raise UserError(f"variant is {variant!r}; expected one of: {', '.join(sorted(VARIANTS))}")
    path = BUILD / f"{pipeline}-{variant}.yaml"
    if not path.is_file():
        raise UserError(f"{path} does not exist; compile it: make pipeline")
    return path


def version_name(path: Path) -> str:
    """Return the name after the content: package version, variant, 12 hex digits of the file's SHA-256."""
    variant = path.stem.removeprefix("tinyunet-")
    return f"{__version__}-{variant}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def upload(client: kfp.Client, path: Path, *, name: str, namespace: str = "") -> PipelineVersion:
    """Upload a compiled pipeline, unless the server has this version of it already.

    The server names the first version of a new pipeline after the pipeline. The version named after the
    content is therefore a second one.
    """
    namespace = namespace or client.get_user_namespace()
    pipeline_id = _find(client, name, namespace) or _create(client, path, name, namespace)
    version = version_name(path)
    version_id = _find_version(client, pipeline_id, version)
    if version_id:
        return PipelineVersion(pipeline_id, version_id, version, created=False)
    try:
        created = client.upload_pipeline_version(str(path), version, pipeline_id=pipeline_id)
    except kfp_server_api.ApiException as error:  # another client may have uploaded it meanwhile
        version_id = _find_version(client, pipeline_id, version) if error.status == CONFLICT else ""
        if not version_id:
            raise
        return PipelineVersion(pipeline_id, version_id, version, created=False)
    return PipelineVersion(pipeline_id, created.pipeline_version_id, version, created=True)


def _create(client: kfp.Client, path: Path, name: str, namespace: str) -> str:
    try:
        return str(client.upload_pipeline(str(path), name, namespace=namespace or None).pipeline_id)
    except kfp_server_api.ApiException as error:  # another client may have created it meanwhile
        pipeline_id = _find(client, name, namespace) if error.status == CONFLICT else ""
        if not pipeline_id:
            raise
        return pipeline_id


def _find(client: kfp.Client, name: str, namespace: str) -> str:
    """Return the id of the pipeline in this namespace, or an empty string.

    `Client.get_pipeline_id` cannot search in a namespace.
    """
    answer = client.list_pipelines(namespace=namespace or None, filter=_name_filter(name))
    return next((str(p.pipeline_id) for p in answer.pipelines or ()), "")


def _find_version(client: kfp.Client, pipeline_id: str, version: str) -> str:
    """Return the id of this version of the pipeline, or an empty string."""
    answer = client.list_pipeline_versions(pipeline_id, filter=_name_filter(version))
    return next((str(v.pipeline_version_id) for v in answer.pipeline_versions or ()), "")


def _name_filter(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def connect_and_upload(options: KubeflowOptions) -> tuple[kfp.Client, PipelineVersion]:
    """Upload the pipeline that the options name; print its version and its page of the dashboard."""
    path = compiled_pipeline(options.pipeline, options.variant)
    with one_line_errors(options.host, options.namespace):
        client = connect(options.host, options.namespace)
        version = upload(client, path, name=options.server_name, namespace=options.namespace)
    result = "uploaded" if version.created else "already there"
    print(f"pipeline {options.server_name}, version {version.name}: {result}")
    print_dashboard_url(options.host, f"pipelines/details/{version.pipeline_id}/version/{version.version_id}")
    return client, version


def main(argv: Sequence[str] | None = None) -> int:
    """Run the upload command; return the exit code."""

    def command() -> None:
        connect_and_upload(parse_upload(argv, __doc__))

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
