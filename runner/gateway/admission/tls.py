"""TLS: the certificate and its key, checked before a model is loaded."""

import ssl
from pathlib import Path

from runner.base.errors import Refused, SteprunError
from runner.base.shell import quoted
from runner.gateway.admission.key_file import is_private


def server_context(certificate: Path, key: Path | None = None) -> ssl.SSLContext:
    """Return what a server listens with. `key`: None where the certificate's file holds it.

    Raises Refused: unreadable, not matching, expired, a key that others can read.
    """
    key = key or certificate
    for path in (certificate, key):
        try:
            mode = path.stat().st_mode
            path.open("rb").close()
        except OSError as error:
            raise Refused(
                f"{path} cannot be read.",
                why=f"{error.strerror or error}.",
                next="Name the files of the certificate and of its key: "
                "--certificate FILE --certificate-key FILE",
            ) from error
    if not is_private(mode):
        raise Refused(
            f"Other users of this computer can read the certificate's key {key}.",
            why="Whoever reads it can pretend to be this server.",
            next=f"Keep it to yourself: chmod 600 {quoted(str(key))}",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password, or OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, ValueError) as error:
        raise _unusable(certificate, key, error) from error
    _try(context, certificate)
    return context


def _unusable(certificate: Path, key: Path, error: Exception) -> SteprunError:
    reason = getattr(error, "reason", None) or str(error)
    if reason == "KEY_VALUES_MISMATCH":
        return Refused(
            f"The key {key} does not belong to the certificate {certificate}.",
            why="The two files are of different pairs.",
            next="Name the key that the certificate was made for: --certificate-key FILE",
        )
    if b"ENCRYPTED" in key.read_bytes()[:4096]:
        copy = f"openssl pkey -in {quoted(str(key))} -out server-plain.pem"
        return Refused(
            f"The certificate's key {key} has a password.",
            why="Nobody is there to type it when a server starts by itself.",
            next=f"Make a copy without one: {copy} && chmod 600 server-plain.pem",
        )
    return Refused(
        "The certificate and its key cannot be used.",
        why=f"{certificate} and {key}: {reason}.",
        next="Both must be PEM files, which begin with -----BEGIN.",
    )


def _try(server: ssl.SSLContext, certificate: Path) -> None:
    """Connect in memory, as a client that trusts this certificate would."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False  # names are the client's business
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    try:
        for _ in range(10):  # two round trips are enough for any version of TLS
            for side in tuple(sides):
                try:
                    side.do_handshake()
                    sides.remove(side)
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLCertVerificationError as error:
        dates = {9: "is not valid yet", 10: "has expired"}
        what = dates.get(error.verify_code)
        raise Refused(
            f"The certificate {certificate} {what or 'cannot be verified'}.",
            why=f"{error.verify_message}.".capitalize(),
            next="Renew it; if its dates are right, check this computer's clock."
            if what
            else "Put the server's own certificate first in the file.",
        ) from error
    except ssl.SSLError as error:
        raise Refused(
            f"The certificate {certificate} does not work.", why=f"{error.reason}."
        ) from error
