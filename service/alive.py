"""`python -m service.alive`: is the service beside this process alive? A container's health check. Before LINE A."""

import http.client
import os
import ssl
import sys

TIMEOUT_S = 4.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # read here, bound by the service
OK = 200


def main() -> int:
    """0 where /healthz answers 200, else 1 and why. Needs only the standard library: it runs every few seconds."""
    host = os.environ.get("RIPEN_HOST", "127.0.0.1")
    port = int(os.environ.get("RIPEN_REST_PORT", "8501"))
    try:
        status = ask(EVERYWHERE.get(host, host), port, encrypted=bool(os.environ.get("RIPEN_TLS_CERT")))
    except (OSError, http.client.HTTPException) as error:
        print(f"/healthz at {host}:{port} cannot be asked: {error}", file=sys.stderr)
        return 1
    print(f"/healthz at {host}:{port} answers {status}")
    return 0 if status == OK else 1


def ask(host: str, port: int, *, encrypted: bool) -> int:
    """The status of GET /healthz. The certificate is not checked: it names the service's public name, not loopback."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    if encrypted:
        context = ssl._create_unverified_context()  # noqa: S323  # see above
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    connection.request("GET", "/healthz")
    return connection.getresponse().status


if __name__ == "__main__":
    sys.exit(main())
