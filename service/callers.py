"""Who asks, and may they? One answer for REST and gRPC. LINE A step 1, LINE B step 1.

Open: everybody who reaches the ports may do everything, except pages of other origins; listening on loopback is not
safe by itself, since a form is sent across origins without asking, and DNS rebinding reaches 127.0.0.1. Otherwise: an
API key, which no page has, so that Host and Origin say nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from contract.errors import InvalidRequest, OriginNotAllowed, PermissionDenied, TooManyAttempts, Unauthenticated
from contract.keys import LOCAL_ACTOR, LOCAL_CONTRIBUTOR, ApiKey, Contributor
from contract.settings import LOOPBACK, Settings
from service.keys import Keys
from service.roles import ANY, GRPC, OPEN, RestRoles, Roles

ATTEMPTS = 50
ATTEMPTS_WINDOW_S = 10.0
NO_ACTOR = "nobody"


class Callers:
    """Tells who a caller is, as the audit log names them: `local`, or `<client>/<key id>`.

    Attributes:
        most_attempts: bad keys that one address may try in ATTEMPTS_WINDOW_S; then it hears "too many". Good keys from
            there work all the same, so nobody can lock out whoever shares the address of a proxy.
    """

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys
        self._rest_roles = RestRoles()
        self.most_attempts = ATTEMPTS
        self._attempts: Counter[str] = Counter()
        self._window_began = 0.0

    def of_request(self, method: str, path: str, headers: Headers, address: str) -> str:
        """Who sends an HTTP request; `path` without the query, `address` without the port.

        Raises:
            InvalidRequest, OriginNotAllowed: a page that must not ask, or a header too many.
            Unauthenticated, TooManyAttempts, PermissionDenied
        """
        if self._settings.open:
            self._check_page(headers)
            return LOCAL_ACTOR
        return self._of(headers.getlist("authorization"), self._rest_roles.of(method, path), address)

    def of_call(self, method: str, authorization: Sequence[str], address: str | None = None) -> str:
        """Who makes a gRPC call.

        Args:
            method: its full name.
            authorization: all values of that metadata.
            address: None where it is not known yet; then a bad key is not counted.

        Raises:
            InvalidRequest, Unauthenticated, TooManyAttempts, PermissionDenied
        """
        if self._settings.open:
            return LOCAL_ACTOR
        return self._of(authorization, GRPC.get(method, ANY), address)

    def named(self, authorization: Callable[[], Sequence[str]]) -> str:
        """The name of a caller who was let in; asks for the authorization only where one is needed."""
        return LOCAL_ACTOR if self._settings.open else _name(self._keys.check(authorization()))

    def contributor(self, actor: str) -> Contributor:
        """As whom a caller who was let in supplies images; one whose key has gone meanwhile is not trusted."""
        if actor == LOCAL_ACTOR:
            return LOCAL_CONTRIBUTOR
        name, _, key_id = actor.partition("/")
        return Contributor(name, trusted=self._keys.trusted(key_id))

    def _of(self, authorization: Sequence[str], needed: Roles | None, address: str | None) -> str:
        if needed is OPEN:
            return NO_ACTOR
        try:
            key = self._keys.check(authorization)
        except Unauthenticated:
            if authorization and address is not None:
                self._count_attempt(address)
            raise
        if not key.roles & needed:
            raise PermissionDenied(_why_not(key, needed))
        return _name(key)

    def _count_attempt(self, address: str) -> None:
        now = time.monotonic()
        if now - self._window_began >= ATTEMPTS_WINDOW_S:
            self._attempts.clear()
            self._window_began = now
        self._attempts[address] += 1
        if self._attempts[address] > self.most_attempts:
            raise TooManyAttempts(f"More than {self.most_attempts} bad keys came; mend the key, then come back.")

    def _check_page(self, headers: Headers) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._settings.host in LOOPBACK:
            if _host_name(f"//{host}") not in LOOPBACK:
                raise InvalidRequest("The Host header names another machine than this one.")
            same = origin is None or _host_name(origin) in LOOPBACK
        else:
            same = origin is None or _place(origin) == host.lower() != ""
        if not same:
            raise OriginNotAllowed("Pages of other origins may not use this service.")


def _name(key: ApiKey) -> str:
    return f"{key.client}/{key.id}"


def _why_not(key: ApiKey, needed: Roles) -> str:
    has, wanted = ", ".join(sorted(key.roles)), " or ".join(sorted(needed)) or "none at all: it is off here"
    return f"The key {key.id} has the roles {has}; this needs {wanted}."


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """Host and port of an origin, as a Host header names them."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
