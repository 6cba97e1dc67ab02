"""The service that all rows are sent to."""

from collections.abc import Iterator

import pytest
from bad_input_case import Victim, serving


@pytest.fixture(scope="session")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """With default settings; a file that needs others defines its own `victim`."""
    with serving(tmp_path_factory.mktemp("victim")) as victim:
        yield victim
