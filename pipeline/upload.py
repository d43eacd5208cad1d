"""Upload the compiled pipeline; its version is named after its content, so doing it twice changes nothing."""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import kfp
import kfp_server_api

from pipeline.compile import BUILD
from pipeline.kubeflow import connect, one_line_errors, parser, print_address, server_name
from pipeline.pipeline import PIPELINES
from pipeline.resources import VARIANTS
from tinyunet import __version__
from tinyunet.core.errors import UserError

EXISTS = 409


@dataclass(frozen=True)
class Uploaded:
    """A pipeline version on the server.

    Attributes:
        pipeline_id: The server's id of the pipeline.
        version_id: The server's id of the version.
        version: Its name.
        new: False if it was there already.
    """

    pipeline_id: str
    version_id: str
    version: str
    new: bool


def package(pipeline: str, variant: str) -> Path:
    """Give a compiled pipeline.

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
    """Give the content-addressed name: package version, variant, 12 hex digits of the file's SHA-256."""
    variant = path.stem.removeprefix("tinyunet-")
    return f"{__version__}-{variant}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def upload(client: kfp.Client, path: Path, *, name: str, namespace: str = "") -> Uploaded:
    """Make sure that the server holds this pipeline in this version.

    The server names the first version of a new pipeline after the pipeline itself; ours follows it.
    """
    namespace = namespace or client.get_user_namespace()
    pipeline_id = _find(client, name, namespace) or _create(client, path, name, namespace)
    version = version_name(path)
    known = _find_version(client, pipeline_id, version)
    if known:
        return Uploaded(pipeline_id, known, version, new=False)
    try:
        made = client.upload_pipeline_version(str(path), version, pipeline_id=pipeline_id)
    except kfp_server_api.ApiException as error:
        known = _find_version(client, pipeline_id, version) if error.status == EXISTS else ""
        if not known:
            raise
        return Uploaded(pipeline_id, known, version, new=False)
    return Uploaded(pipeline_id, made.pipeline_version_id, version, new=True)


def _create(client: kfp.Client, path: Path, name: str, namespace: str) -> str:
    try:
        return str(client.upload_pipeline(str(path), name, namespace=namespace or None).pipeline_id)
    except kfp_server_api.ApiException as error:  # someone else was faster
        found = _find(client, name, namespace) if error.status == EXISTS else ""
        if not found:
            raise
        return found


def _find(client: kfp.Client, name: str, namespace: str) -> str:
    """Look a pipeline up, in the namespace where there is one (`Client.get_pipeline_id` does not)."""
    answer = client.list_pipelines(namespace=namespace or None, filter=_named(name))
    return next((str(p.pipeline_id) for p in answer.pipelines or ()), "")


def _find_version(client: kfp.Client, pipeline_id: str, version: str) -> str:
    answer = client.list_pipeline_versions(pipeline_id, filter=_named(version))
    return next((str(v.pipeline_version_id) for v in answer.pipeline_versions or ()), "")


def _named(name: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def upload_from(options: argparse.Namespace) -> tuple[kfp.Client, Uploaded]:
    """Connect and upload as the command line says; print what happened."""
    path = package(options.pipeline, options.variant)
    name = server_name(options)
    with one_line_errors(options.host, options.namespace):
        client = connect(options.host, options.namespace)
        done = upload(client, path, name=name, namespace=options.namespace)
    print(f"pipeline {name}, version {done.version}: {'uploaded' if done.new else 'already there'}")
    print_address(options.host, f"pipelines/details/{done.pipeline_id}/version/{done.version_id}")
    return client, done


def main(argv: Sequence[str] | None = None) -> int:
    """Upload; give the exit code."""
    try:
        upload_from(parser("upload", __doc__).parse_args(argv))
    except UserError as error:
        print(f"tinyunet: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tinyunet: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
