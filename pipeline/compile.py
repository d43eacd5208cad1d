"""Compile: `python -m pipeline.compile` writes build/tinyunet{,-classes}-{cpu,gpu}.yaml, reproducibly."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NoReturn

from kfp import compiler

from pipeline.pipeline import PIPELINES
from pipeline.resources import SETTINGS_KEYS, VARIANTS

BUILD = Path(__file__).parent / "build"


def compile_variant(
    variant: str,
    folder: Path,
    *,
    pipeline: str = "tinyunet",
    image: str = "",
    registry: str = "",
    tag: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a pipeline for one kind of cluster.

    Args:
        variant: `cpu` or `gpu`.
        folder: Folder of the file.
        pipeline: `tinyunet` or `tinyunet-classes`.
        image: Image of all tasks; empty is each task's own image.
        registry: Prefix of the image names of `make images`.
        tag: Tag of these images; empty is the version of the project.
        changes: Other values for fields of the variant's `Resources`; those of GPUs only change a variant
            that has GPUs.

    Returns:
        The YAML file: the pipeline specification and, as a second document, its Kubernetes configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{pipeline}-{variant}.yaml"
    others = dict(changes or {})
    gpus, gpu_type = others.pop("gpus", 0), others.pop("gpu_type", "")
    resources = replace(VARIANTS[variant].with_gpus(gpus, gpu_type), **others)
    resources = replace(
        resources,
        image=image or _image_name(resources.image, registry, tag),
        trainer=image or _image_name(resources.trainer, registry, tag),
    )
    compiler.Compiler().compile(PIPELINES[pipeline](resources), str(path))
    return path


def _image_name(image: str, registry: str, tag: str) -> str:
    name, version = image.split(":")
    return f"{registry.rstrip('/')}/{name}:{tag or version}".lstrip("/")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line; compiling works without the library and its parser."""

    def error(self, message: str) -> NoReturn:
        """Print the error and where the options are listed; exit with 2."""
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; an option that is not given is absent from the result."""
    parser = Parser("python -m pipeline.compile", description=__doc__, argument_default=argparse.SUPPRESS)
    parser.add_argument("--registry", type=_registry, help="prefix of the image names, as in make images")
    parser.add_argument("--tag", type=_tag, help="tag of the images, as in make images")
    parser.add_argument("--settings", help="ConfigMap with " + ", ".join(SETTINGS_KEYS))
    parser.add_argument("--secret", help="Secret with the S3 credentials")
    parser.add_argument("--secret-keys", nargs=2, metavar=("ID", "KEY"), help="its keys of both credentials")
    parser.add_argument("--node-selector", type=_pairs, metavar="KEY=VALUE,…", help="of the workers")
    parser.add_argument("--gpus", type=int, choices=range(1, 17), metavar="1-16", help="of each worker")
    parser.add_argument("--gpu-type", type=_gpu, metavar="RESOURCE", help="such as nvidia.com/mig-1g.10gb")
    parser.add_argument(
        "--compile-cache", type=_claim, metavar="CLAIM", help="volume for XLA's compiled steps"
    )
    parser.add_argument("--queue", help="Kueue LocalQueue of the trainings")
    parser.add_argument("--priority", metavar="CLASS", help="their Kueue WorkloadPriorityClass in the queue")
    parser.add_argument(
        "--classes-at-a-time",
        type=int,
        choices=range(1, 11),
        metavar="1-10",
        help="number of classes that tinyunet-classes processes at the same time",
    )
    parser.add_argument("--memory-limit", type=_memory, help="of every task and worker, e.g. 16G")
    options = parser.parse_args(argv)
    name, gpus = vars(options).get("gpu_type", ""), vars(options).get("gpus", 1)
    if gpus > 1 and re.search(r"/mig-|\.shared$", name):
        parser.error(
            f"argument --gpus: {gpus}; expected 1, since a worker uses one {name}: more workers use more"
        )
    if "priority" in options and "queue" not in options:
        parser.error("argument --priority: it is a priority in a queue; add --queue NAME")
    if "memory_limit" in options:
        options.worker_memory_limit = options.memory_limit
    return options


def _registry(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*/?", text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected HOST[:PORT][/PATH], no https://")
    return text


def _tag(text: str) -> str:
    if not re.fullmatch(r"\w[\w.-]{0,127}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}; expected letters, digits and _ . - in a tag")
    return text


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*([KMGTPE]i?)?", text):
        raise argparse.ArgumentTypeError(f"{text!r}; expected a whole number of K, M, G, Ki, Mi or Gi: 16G")
    return text


def _claim(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}; expected the name of a PersistentVolumeClaim")
    return text


def _gpu(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*\.[a-z]{2,}/(gpu|mig-)[\w.-]{0,58}", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected DOMAIN/gpu…, or DOMAIN/mig-… for a part: nvidia.com/mig-1g.10gb"
        )
    return text


def _pairs(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(key and value for key, _, value in pairs):
        raise argparse.ArgumentTypeError(f"{text!r}; expected KEY=VALUE, several separated by commas")
    return {key: value for key, _, value in pairs}


def main(argv: Sequence[str] | None = None) -> None:
    """Compile every pipeline and variant; the variable TINYUNET_IMAGE names one image for all tasks."""
    changes = vars(parse(argv))
    images = {name: changes.pop(name, "") for name in ("registry", "tag")}
    images["image"] = os.environ.get("TINYUNET_IMAGE", "")
    for pipeline, variant in product(PIPELINES, sorted(VARIANTS)):
        print(compile_variant(variant, BUILD, pipeline=pipeline, **images, changes=changes))


if __name__ == "__main__":
    main()
