"""Fixtures of the client's and the command's tests."""

from collections.abc import Iterator

import fake_rest_service
import pytest


@pytest.fixture
def service() -> Iterator[fake_rest_service.FakeRestService]:
    with fake_rest_service.serve() as running:
        yield running
