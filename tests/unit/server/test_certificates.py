"""The certificate of the server, and its renewal."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.server import certificates
from tinyunet.server.certificates import Certificate


def make(folder: Path) -> tuple[Path, Path]:
    """Write a new certificate for localhost and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def test_a_renewed_certificate_is_presented_and_a_broken_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_S", 0.02)
    files = make(tmp_path)

    async def presented(port: int) -> str:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))

    async def run() -> None:
        certificate, context = Certificate(*files), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.load(context)
        following = asyncio.create_task(certificate.follow(context))
        server = await asyncio.start_server(
            lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            first = files[0].read_text()
            assert await presented(port) == first
            files[1].write_text("no key")
            await asyncio.sleep(0.2)
            assert await presented(port) == first
            await asyncio.to_thread(make, tmp_path)
            await asyncio.sleep(0.2)
            assert await presented(port) == files[0].read_text() != first
        following.cancel()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    with pytest.raises(UserError, match="expected PEM files that belong together"):
        Certificate(certificate, certificate)
    with pytest.raises(UserError, match=r"none\.pem and .* \(No such file or directory\)"):
        Certificate(tmp_path / "none.pem", key)
