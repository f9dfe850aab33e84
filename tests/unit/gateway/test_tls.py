"""TLS by file: what is refused before a model is loaded, and that it works."""

import asyncio
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from runner.base.errors import Refused
from runner.gateway.admission.tls import server_context
from tests.fakes.plain_engine import guarded, parsed

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the pairs")


def pair(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    line += ["-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*line, "-keyout", str(key), "-out", str(certificate), *options],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    return certificate, key


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return pair(tmp_path_factory.mktemp("tls"), "good", "-days", "2")


async def test_it_is_spoken_and_nothing_older_than_1_2(good: tuple[Path, Path]) -> None:
    context = server_context(*good)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    async with guarded(tls=context) as gateway:
        client = ssl.create_default_context(cafile=good[0])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", gateway.port, ssl=client, server_hostname="localhost"
        )
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert parsed(await reader.read())[0] == 200
        writer.close()
        # Plain HTTP to that port is dropped, and nothing is printed of it.
        with pytest.raises((ConnectionError, IndexError)):
            await gateway.ask("GET", "/health")


def test_both_may_be_in_one_file(good: tuple[Path, Path], tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(good[0].read_bytes() + good[1].read_bytes())
    both.chmod(0o600)
    server_context(both)


def test_what_is_refused(good: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = good
    other, other_key = pair(tmp_path, "other", "-days", "2")
    refused(certificate, other_key, "does not belong to the certificate")
    refused(certificate, tmp_path / "none.pem", "none.pem cannot be read")
    refused(key, key, "cannot be used")
    (nonsense := tmp_path / "nonsense.pem").write_text("nonsense")
    nonsense.chmod(0o600)
    refused(nonsense, nonsense, "cannot be used")
    if os.name == "posix":
        other_key.chmod(0o640)
        assert "chmod 600" in refused(other, other_key, "Other users").next


def test_a_key_with_a_password_is_refused_and_the_advice_works(
    good: tuple[Path, Path], tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    line = ["openssl", "pkcs8", "-topk8", "-in", str(good[1]), "-out", str(locked)]
    subprocess.run([*line, "-passout", "pass:secret"], check=True, capture_output=True)
    locked.chmod(0o600)
    error = refused(good[0], locked, "has a password")
    command = error.next.partition(": ")[2].replace("pkey -in", "pkey -passin pass:secret -in")
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, capture_output=True)
    server_context(good[0], tmp_path / "server-plain.pem")


@pytest.mark.parametrize(
    ("begins", "ends", "what"),
    [("20200101", "20210101", "has expired"), ("21000101", "21010101", "is not valid yet")],
)
def test_dates_are_checked(
    good: tuple[Path, Path], tmp_path: Path, begins: str, ends: str, what: str
) -> None:
    (tmp_path / "index").touch()
    (tmp_path / "ca.cnf").write_text(
        "[ca]\ndefault_ca=x\n[x]\ndatabase=index\nnew_certs_dir=.\nrand_serial=yes\n"
        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
    )
    ca = ["openssl", "ca", "-batch", "-config", "ca.cnf", "-selfsign", "-ss_cert", str(good[0])]
    ca += ["-cert", str(good[0]), "-keyfile", str(good[1]), "-out", "dated.pem"]
    dates = ["-startdate", f"{begins}000000Z", "-enddate", f"{ends}000000Z"]
    subprocess.run([*ca, *dates], check=True, capture_output=True, cwd=tmp_path)
    refused(tmp_path / "dated.pem", good[1], what)


def refused(certificate: Path, key: Path, what: str) -> Refused:
    with pytest.raises(Refused, match=what) as error:
        server_context(certificate, key)
    return error.value
