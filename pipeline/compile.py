"""Compile the pipeline: `python -m pipeline.compile` writes build/tinyunet-{cpu,gpu}.yaml, reproducibly."""

import os
import warnings
from pathlib import Path

from kfp import compiler

from components.base import IMAGE
from pipeline.pipeline import build
from pipeline.resources import VARIANTS

BUILD = Path(__file__).parent / "build"


def compile_variant(variant: str, folder: Path, *, image: str = IMAGE) -> Path:
    """Write the pipeline for one kind of cluster, its tasks in the given image.

    Returns:
        The YAML file: pipeline spec and, as a second document, what Kubernetes adds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"tinyunet-{variant}.yaml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiler.Compiler().compile(build(VARIANTS[variant]), str(path))
    path.write_text(path.read_text().replace(IMAGE, image))
    return path


def main() -> None:
    """Compile every variant; TINYUNET_IMAGE names another image than the literal one."""
    for variant in sorted(VARIANTS):
        print(compile_variant(variant, BUILD, image=os.environ.get("TINYUNET_IMAGE", IMAGE)))


if __name__ == "__main__":
    main()
