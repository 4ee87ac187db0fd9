"""The folders of GROUNDUP_DATA as they are before a test takes them away."""

import os

import pytest

_GIVEN = os.environ.get("GROUNDUP_DATA", "")


@pytest.fixture(scope="session")
def given_data() -> str:
    """GROUNDUP_DATA, or nothing: lessons then use what every machine has."""
    return _GIVEN
