"""What users import and type: the client and the `ripen` command.

`from ripen import Client`; the modules are imported when a name is first used, which keeps `ripen --help` quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ripen.client import Client
    from ripen.errors import ApiError, RipenClientError, ServiceUnreachable, UnexpectedAnswer

__all__ = ["ApiError", "Client", "RipenClientError", "ServiceUnreachable", "UnexpectedAnswer"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'ripen' has no attribute {name!r}")
    return getattr(import_module("ripen.client" if name == "Client" else "ripen.errors"), name)
