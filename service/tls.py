"""The certificate of both ports: checked at start, read again when its files change. LINE A step 1.

A bad file at start stops the start; a bad file later leaves the certificate as it was, with a warning in the log.
"""

import logging
import ssl
from pathlib import Path

import grpc

from contract.errors import InvalidSetting
from contract.settings import Settings

Signature = tuple[tuple[int, int, int], ...]
logger = logging.getLogger(__name__)


class Certificate:
    """One certificate chain and its key.

    Args:
        certificate: PEM file, the service's own certificate first.
        key: PEM file, not encrypted.

    Attributes:
        context: for REST; each new connection goes on with `current`, the one that was read last.

    Raises:
        InvalidSetting: names the file's setting, what is wrong with it and what is wanted.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self.context = self.current = _server_context(certificate, key)
        self.context.sni_callback = self._hand_out
        self._read_from = self._signature()
        self._warned = ""
        self._pair = _pair(certificate, key)
        self._given_to_grpc = self._pair

    def refresh(self) -> None:
        """Read the files again if they have changed, until they can be used; called once a second."""
        signature = self._signature()
        if signature == self._read_from:
            return
        try:
            current, pair = _server_context(*self._files), _pair(*self._files)
        except (InvalidSetting, OSError) as error:
            if str(error) != self._warned:
                logger.warning("The new certificate is not used, the one before stays: %s", error)
            self._warned = str(error)
            return
        self._read_from, self._warned = signature, ""
        self.current, self._pair = current, pair
        logger.info("The certificate was read again; new connections get it.")

    def _hand_out(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """In each handshake: a context keeps one certificate per kind of key, so a new one has a context of its own."""
        connection.context = self.current

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """For gRPC, which asks before each handshake whether there is a new certificate."""
        first = grpc.ssl_server_certificate_configuration([self._pair])
        return grpc.dynamic_ssl_server_credentials(first, self._news_for_grpc)

    def _news_for_grpc(self) -> grpc.ServerCertificateConfiguration | None:
        pair = self._pair
        if pair == self._given_to_grpc:
            return None
        self._given_to_grpc = pair
        return grpc.ssl_server_certificate_configuration([pair])

    def _signature(self) -> Signature:
        """Changes when a file does, also by being replaced or by a link that points elsewhere."""
        try:
            found = [path.stat() for path in self._files]
        except OSError:
            return ()  # on its way: links and files are replaced one after the other
        return tuple((one.st_mtime_ns, one.st_size, one.st_ino) for one in found)


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate that is set, or None.

    Raises:
        InvalidSetting: it cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


def _server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context that has shaken hands once with these files, so that they are known to work and to be valid today.

    Raises:
        InvalidSetting: they are not.
    """
    for path, setting in ((certificate, "RIPEN_TLS_CERT"), (key, "RIPEN_TLS_KEY")):
        try:
            path.read_bytes()
        except OSError as error:
            raise InvalidSetting(
                f"{setting} is {path}, which cannot be read ({error.strerror}); expected a PEM file."
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSetting(_why_not_loaded(certificate, key, error)) from error
    _shake_hands(context, certificate)
    return context


def _why_not_loaded(certificate: Path, key: Path, error: Exception) -> str:
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return (
            f"RIPEN_TLS_KEY {key} is not the key of the certificate in RIPEN_TLS_CERT {certificate}; expected its key."
        )
    return (
        f"RIPEN_TLS_CERT {certificate} and RIPEN_TLS_KEY {key} are not a certificate and its key; expected PEM files, "
        "the service's own certificate first, the key without a password."
    )


def _shake_hands(server_context: ssl.SSLContext, certificate: Path) -> None:
    """Let a client that trusts exactly this certificate look at it: the library checks its dates only there."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (client, server, client, server):
            _step(side)
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", None) or error.reason
        raise InvalidSetting(
            f"RIPEN_TLS_CERT {certificate} holds a certificate that clients refuse ({why}); expected a valid one."
        ) from error


def _step(side: ssl.SSLObject) -> None:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return


def _pair(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """Key and chain as gRPC wants them."""
    return key.read_bytes(), certificate.read_bytes()


def _no_password() -> str:
    """Without this an encrypted key would be asked for at the terminal."""
    return ""
