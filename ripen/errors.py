"""Every error that the client and the command raise on purpose. Neither line: what a user catches.

RipenClientError
├── ServiceUnreachable    nothing answers at the URL
├── UnexpectedAnswer      something answers, but not Ripen
├── ApiError              the service said no; `code` is its stable name for why
├── InvalidFolder         a dataset folder that cannot be imported
├── InvalidCredentials    an API key or a CA file that cannot be used; nothing was sent
├── CommandFailed         a command on the local home failed
├── CannotMeasure         what `ripen bench` needs is not there: grpcio, or a second version to swap to
└── CannotStart           the service, the worker or a first version cannot be had
"""


class RipenClientError(Exception):
    """Root of the tree. The message says what came, what was expected and how to mend it."""

    @property
    def code(self) -> str:
        """A stable machine-readable name, for example `service_unreachable`."""
        name = type(self).__name__
        return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class ServiceUnreachable(RipenClientError):
    """Nothing answers at the URL."""


class UnexpectedAnswer(RipenClientError):
    """Something answers at the URL, but not as Ripen does."""


class ApiError(RipenClientError):
    """The service said no.

    Args:
        code: the service's stable name for the reason, for example `invalid_image`.
        message: the reason in words.
        status: the HTTP status.
        request_id: finds the request in the service's log.
    """

    def __init__(self, code: str, message: str, *, status: int, request_id: str = "") -> None:
        super().__init__(message)
        self._code = code
        self.status = status
        self.request_id = request_id

    @property
    def code(self) -> str:
        """The service's stable name for the reason."""
        return self._code


class InvalidFolder(RipenClientError):
    """A dataset folder that cannot be imported; nothing was sent."""


class InvalidCredentials(RipenClientError):
    """An API key or a CA file that cannot be used; nothing was sent."""


class CannotMeasure(RipenClientError):
    """What `ripen bench` needs is not there."""


class CommandFailed(RipenClientError):
    """A command on the local home failed.

    Args:
        message: what it said.
        bad_setting: whether a setting is what has to be mended.
    """

    def __init__(self, message: str, *, bad_setting: bool = False) -> None:
        super().__init__(message)
        self.bad_setting = bad_setting


class CannotStart(RipenClientError):
    """The service, the worker or a first version cannot be had."""
