"""The way from a version of a registered model back to its images, with a check of every hash on it."""

import tempfile
from pathlib import Path

from tinyunet.core.documents.trace import Trace, TracedImage
from tinyunet.registry.evidence import collect
from tinyunet.studies.facts import facts

PAGE = "trace.html"


def trace(uri: str, out: Path) -> Trace:
    """Write trace.json and trace.html of a version of a registered model.

    Args:
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.
        out: Folder to write.

    Returns:
        The content of trace.json. Facts that do not fit have the status `wrong`; they are no error.

    Raises:
        UserError: if there is no such version, or MLflow cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        evidence = collect(uri, Path(folder))
        found, sources = facts(evidence), evidence.sources
    images = [
        TracedImage(split=f.split, name=f.name, image_sha256=f.image_sha256, mask_sha256=f.mask_sha256)
        for f in (sources.files if sources else ())
    ]
    result = Trace(
        model=uri, name=evidence.name, version=evidence.version, facts=tuple(found), images=tuple(images)
    )
    out.mkdir(parents=True, exist_ok=True)
    result.write(out)
    (out / PAGE).write_text(render(result), encoding="utf-8")
    return result


def render(result: Trace) -> str:
    """Return the page of a trace; it needs no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("tinyunet.studies", ".")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(PAGE)
    return page.render(trace=result)
