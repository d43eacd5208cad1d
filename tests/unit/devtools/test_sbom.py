"""The software bills of materials: complete, valid CycloneDX 1.6, with licences."""

import json
import re
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.devtools import sbom

# The required keys, and the values that the schema of CycloneDX 1.6 permits for those that the bills have.
REQUIRED = {"bomFormat", "specVersion", "version", "components"}
TYPES = {"application", "library"}
BSD = "Classifier: License :: OSI Approved :: BSD License"
UUID = r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def bills() -> dict[str, Any]:
    return sbom.documents(sbom.installed_licenses())


def test_every_package_of_every_lock_is_in_its_bill_with_all_hashes(bills: dict[str, Any]) -> None:
    for lock in sbom.LOCKS:
        lines = (sbom.ROOT / lock).read_text().splitlines()
        names = [line.split("==")[0].lower() for line in lines if re.match(r"[A-Za-z0-9]", line)]
        components = bills[f"{Path(lock).stem}.cdx.json"]["components"]
        built = {"horovod"} if lock == "requirements.lock" else set()
        assert {one["name"] for one in components} == {name.split("[")[0] for name in names} | built
        hashes = [
            digest["content"]
            for one in components
            for reference in one.get("externalReferences", [])
            for digest in reference["hashes"]
        ]
        assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", "\n".join(lines)))


def test_every_bill_has_the_structure_of_cyclonedx(bills: dict[str, Any]) -> None:
    assert len(bills) == 7
    for document in bills.values():
        assert document.keys() >= REQUIRED
        assert (document["bomFormat"], document["specVersion"], document["version"]) == (
            "CycloneDX",
            "1.6",
            1,
        )
        assert re.fullmatch(UUID, document["serialNumber"])
        components = [document["metadata"]["component"], *document["components"]]
        references = [one["bom-ref"] for one in components]
        assert len(set(references)) == len(references)
        (root,) = document["dependencies"]
        assert [root["ref"], *root["dependsOn"]] == references
        for one in components:
            assert one["type"] in TYPES
            assert one["name"]
            assert one["version"]
            for choice in one.get("licenses", []):
                assert set(choice) in ({"expression"}, {"license"})
                assert set(choice.get("license", {"name": ""})) in ({"name"}, {"id"})
        for one in document["components"]:
            assert re.fullmatch(r"pkg:(pypi|golang)/[\w./-]+@[\w.+-]+", one["purl"])


def test_the_same_packages_give_the_same_bytes(bills: dict[str, Any]) -> None:
    again = sbom.documents(sbom.installed_licenses())
    assert json.dumps(again) == json.dumps(bills)


def test_the_licences_of_our_own_images_are_known(bills: dict[str, Any]) -> None:
    serving = sbom.licenses_of(bills["serving.cdx.json"])
    assert [name for name, text in serving.items() if text == "not stated"] == []
    assert not [text for text in serving.values() if "GPL" in text]
    assert sbom.licenses_of(bills["minio.cdx.json"]) == {"minio-server": "AGPL-3.0-or-later"}
    assert sbom.licenses_of(bills["seaweedfs.cdx.json"]) == {"seaweedfs-server": "Apache-2.0"}
    mlflow = sbom.licenses_of(bills["mlflow.cdx.json"])
    assert mlflow["psycopg2-binary"] == "LGPL-3.0-or-later"
    assert "copyleft: certifi (MPL-2.0), psycopg2-binary (LGPL-3.0-or-later)" in "\n".join(
        sbom.summary("x", bills["mlflow.cdx.json"])
    )


def test_the_versions_of_what_is_built_are_those_of_the_scripts(bills: dict[str, Any]) -> None:
    for store in ("minio", "seaweedfs"):
        (server,) = bills[f"{store}.cdx.json"]["components"]
        assert f"{store} version={server['version']}" in (sbom.ROOT / "docker/store.sh").read_text()
    (horovod,) = (one for one in bills["requirements.cdx.json"]["components"] if one["name"] == "horovod")
    assert horovod["version"] == "0.28.1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("License-Expression: MIT OR Apache-2.0", {"expression": "MIT OR Apache-2.0"}),
        ("Classifier: License :: OSI Approved :: MIT License", {"expression": "MIT"}),
        (f"License: BSD-3-Clause\n{BSD}", {"expression": "BSD-3-Clause"}),
        (f"License: see the file\n{BSD}", {"license": {"name": "BSD License"}}),
        ("Classifier: License :: OSI Approved", None),
        (f"License: {'a whole text ' * 9}", None),
    ],
)
def test_the_licence_of_a_package_is_read_from_its_metadata(
    fields: str, expected: dict[str, Any] | None, tmp_path: Path
) -> None:
    info = tmp_path / "demo-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: demo\nVersion: 1\n{fields}\n")
    text = sbom.license_of(Distribution.at(info).metadata)
    document = sbom.bill("x", "x", [sbom.Package("demo", "1", "pkg:pypi/demo@1")], {"demo": text})
    assert document["components"][0].get("licenses") == (None if expected is None else [expected])


@pytest.mark.parametrize("text", ["demo>=1 \\\n    --hash=sha256:" + "0" * 64, "demo==1\n"])
def test_a_lock_without_exact_versions_or_hashes_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="expected name==version with --hash"):
        sbom.read_lock(text, "x.lock")


def test_the_bills_are_written_as_json(tmp_path: Path) -> None:
    lines = sbom.write(tmp_path / "sbom")
    files = sorted((tmp_path / "sbom").iterdir())
    assert len(files) == 7
    assert all(json.loads(file.read_text())["bomFormat"] == "CycloneDX" for file in files)
    assert any("copyleft: minio-server (AGPL-3.0-or-later)" in line for line in lines)
