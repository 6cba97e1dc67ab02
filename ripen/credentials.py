"""What the client shows and whom it trusts: an API key, and certificates. Neither line: before each of its requests.

No class of ours holds the key under a name of its own: httpx keeps it among the headers, and hides it in its repr.
"""

import os
import re
import ssl
from pathlib import Path

from ripen.errors import InvalidCredentials

KEY_VARIABLE = "RIPEN_API_KEY"
CA_VARIABLE = "RIPEN_CA_FILE"
CLIENT_VARIABLES = (KEY_VARIABLE, CA_VARIABLE)  # no settings of the service
FIRST_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
Trust = str | Path | ssl.SSLContext | None


def authorization(api_key: str | None) -> dict[str, str]:
    """The header of a key, or of RIPEN_API_KEY; none where neither is set.

    Raises:
        InvalidCredentials: it holds what no header may hold; the key itself is not told.
    """
    key = (os.environ.get(KEY_VARIABLE, "") if api_key is None else api_key).strip()
    if re.fullmatch(r"[!-~]*", key) is None:
        raise InvalidCredentials(
            f"The API key ({KEY_VARIABLE}) has spaces or other odd characters inside; expected one as "
            "`ripen keys add` printed it."
        )
    return {"Authorization": f"Bearer {key}"} if key else {}


def trusted(trust: Trust) -> ssl.SSLContext | bool:
    """Whom to trust: the authorities in a PEM file, or in that of RIPEN_CA_FILE, or those that everybody trusts.

    Raises:
        InvalidCredentials: the file cannot be read, or holds no certificate.
    """
    if isinstance(trust, ssl.SSLContext):
        return trust
    file = os.environ.get(CA_VARIABLE) if trust is None else trust
    if not file:
        return True
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidCredentials(
            f"The CA file {file} ({CA_VARIABLE}) cannot be used ({error.strerror or error}); "
            "expected certificates in PEM."
        ) from error


def trust_only(certificate: Path) -> ssl.SSLContext:
    """Trust exactly the first certificate of a file, whatever name it bears: our own service's, which we started.

    Raises:
        InvalidCredentials: there is none in the file.
    """
    try:
        found = FIRST_CERTIFICATE.search(certificate.read_text())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # else only an authority's would be trusted
        context.load_verify_locations(cadata=found.group() if found else "")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise InvalidCredentials(f"{certificate} cannot be used ({error}); expected a certificate in PEM.") from error
    return context
