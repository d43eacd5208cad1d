"""The software bill of materials (SBOM) of every lock file and of MinIO, in CycloneDX 1.6, with the licences.

    python -m tinyunet.devtools.sbom FOLDER

A bill has the packages of Python, their hashes, and the licences that the installed packages state. The
packages of Debian in the images are not in it.
"""

import importlib.metadata
import json
import re
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyunet import __version__
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path

Json = dict[str, Any]
Licenses = dict[str, str]  # normalized name of an installed package -> its licence

ROOT = Path(__file__).parents[3]
# Which image or environment a lock file describes.
LOCKS = {
    "requirements.lock": ("tinyunet", "the project and the image trainer-cpu"),
    "docker/trainer.lock": ("tinyunet/trainer", "what the image trainer adds to NVIDIA's"),
    "docker/serving.lock": ("tinyunet/serving", "the image serving"),
    "docker/mlflow.lock": ("tinyunet/mlflow", "the image mlflow"),
    "docker/tools.lock": ("tinyunet/tools", "the builds of the images"),
}
# Licences of packages that only images contain, and of what their metadata does not state.
KNOWN = {
    "horovod": "Apache-2.0",
    "minio-server": "AGPL-3.0-or-later",
    "seaweedfs-server": "Apache-2.0",
    "psycopg2-binary": "LGPL-3.0-or-later",
}
_SPDX = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
_OPERATORS = ("AND", "OR", "WITH")
_IDENTIFIER = re.compile(r"[0-9A-Z]\w*(-[\w.]+)+|MIT|0BSD|ISC|Unlicense|Zlib")  # of SPDX
_UNKNOWN = "not stated"
_COPYLEFT = re.compile(r"GPL|MPL|EUPL|CDDL|EPL")


@dataclass(frozen=True)
class Package:
    """A package of a bill: its name, exact version, package URL, and the SHA-256 of its files."""

    name: str
    version: str
    purl: str
    hashes: tuple[str, ...] = ()


def read_lock(text: str, place: str) -> list[Package]:
    """Return the packages of a lock file.

    Args:
        text: Lines `name==version`, each with `--hash=sha256:…` lines.
        place: Name of the file, for messages.

    Raises:
        UserError: if a package has no exact version or no hash.
    """
    packages = []
    for entry in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"(?m)^\s*#.*\n?", "", text).strip()):
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", entry)
        hashes = tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
        if not match or not hashes:
            raise UserError(
                f"{place}: {entry.splitlines()[0]!r}; expected name==version with --hash=sha256:…"
            )
        name = _normalized(match[1])
        packages.append(Package(name, match[2], f"pkg:pypi/{name}@{match[2]}", hashes))
    return packages


def store_server(script: str, name: str) -> Package:
    """Return the server of an object store in the version that docker/store.sh builds."""
    module, version = re.findall(rf"\bmodule=(\S+/{name}) version=(v\S+)", script)[0]
    return Package(f"{name}-server", version, f"pkg:golang/{module}@{version}")


def horovod(script: str) -> Package:
    """Return Horovod in the version that docker/horovod.sh builds."""
    version = re.findall(r"\bversion=(\d\S*)", script)[0]
    return Package("horovod", version, f"pkg:pypi/horovod@{version}")


def installed_licenses() -> Licenses:
    """Return the licence that each installed package states: an SPDX expression where it has one."""
    return {
        _normalized(one.name): text
        for one in importlib.metadata.distributions()
        if (text := license_of(one.metadata))
    }


def license_of(metadata: importlib.metadata.PackageMetadata) -> str:
    """Return the licence that the metadata of a package state; empty without a short statement."""
    if expression := metadata.get_all("License-Expression"):
        return str(expression[0])
    classifiers = [str(one) for one in metadata.get_all("Classifier") or () if one.startswith("License ::")]
    names = [one.rsplit(" :: ", 1)[-1] for one in classifiers if not one.endswith("OSI Approved")]
    text = " ".join(str((metadata.get_all("License") or [""])[0]).split())
    if text in ("", "UNKNOWN") or len(text) > 60:  # some packages have the whole text there
        text = ""
    found = text if text and (not names or "-" in text) else ", ".join(_SPDX.get(n, n) for n in names)
    return _SPDX.get(found, found)


def bill(name: str, description: str, packages: Sequence[Package], licenses: Licenses) -> Json:
    """Return a CycloneDX document.

    It has no date, so that the same packages give the same document.

    Args:
        name: Name of what contains the packages.
        description: The same in words.
        packages: The packages.
        licenses: Licences by package.
    """
    components = [_component(one, licenses) for one in sorted(packages, key=lambda one: one.name)]
    root: Json = {
        "type": "application",
        "bom-ref": name,
        "name": name,
        "version": __version__,
        "description": description,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    content = json.dumps([root, components], sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": [one["bom-ref"] for one in components]}],
    }


def _component(package: Package, licenses: Licenses) -> Json:
    component: Json = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    if text := KNOWN.get(package.name) or licenses.get(package.name):
        component["licenses"] = [_license_choice(text)]
    if package.hashes:  # of all files of the release, of which one is installed
        component["externalReferences"] = [
            {
                "type": "distribution",
                "url": f"https://pypi.org/project/{package.name}/{package.version}/#files",
                "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
            }
        ]
    return component


def _license_choice(text: str) -> Json:
    """Return a licence as CycloneDX has it: an SPDX expression, or a name."""
    words = re.sub(r"[()]", " ", text).split()
    known = all(word in _OPERATORS or _IDENTIFIER.fullmatch(word) for word in words)
    return {"expression": text} if known else {"license": {"name": text}}


def licenses_of(document: Json) -> dict[str, str]:
    """Return the licence of every package of a document, as text."""
    found = {}
    for one in document["components"]:
        choice = (one.get("licenses") or [{}])[0]
        found[one["name"]] = choice.get("expression") or choice.get("license", {}).get("name", _UNKNOWN)
    return found


def documents(licenses: Licenses) -> dict[str, Json]:
    """Return the documents of this repository, by the name of their file."""
    found = {}
    for lock, (name, description) in LOCKS.items():
        packages = read_lock((ROOT / lock).read_text(encoding="utf-8"), lock)
        if lock == "requirements.lock":
            packages.append(horovod((ROOT / "docker/horovod.sh").read_text(encoding="utf-8")))
        found[f"{Path(lock).stem}.cdx.json"] = bill(name, description, packages, licenses)
    script = (ROOT / "docker/store.sh").read_text(encoding="utf-8")
    for name in ("minio", "seaweedfs"):
        servers = [store_server(script, name)]
        found[f"{name}.cdx.json"] = bill(f"tinyunet/{name}", f"the image {name}", servers, licenses)
    return found


def summary(file: str, document: Json) -> Iterable[str]:
    """Yield the lines about a document: the licences by number of packages, copyleft, and unknown ones."""
    licenses = licenses_of(document)
    counts = Counter(licenses.values())
    yield f"{file}: {len(licenses)} packages; " + ", ".join(
        f"{n} {name}" for name, n in counts.most_common(6)
    )
    copyleft = [f"{name} ({text})" for name, text in licenses.items() if _COPYLEFT.search(text)]
    if copyleft:
        yield f"  copyleft: {', '.join(copyleft)}"
    if unknown := [name for name, text in licenses.items() if text == _UNKNOWN]:
        yield f"  licence not stated, or not installed here: {', '.join(unknown)}"


def write(folder: Path) -> list[str]:
    """Write all documents into a folder, and return the lines about them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    for file, document in documents(installed_licenses()).items():
        with atomic_path(folder / file) as part:
            part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        lines += summary(str(folder / file), document)
    return lines


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print("\n".join(write(Path(sys.argv[1]))))
