"""Under pytest too, no figure while the op's tests are red."""

from collections.abc import Callable
from functools import cache

import pytest

from benchmarks.cases import Suite
from benchmarks.harness import require_green


@pytest.fixture(scope="session")
def green() -> Callable[[Suite], None]:
    """Runs a suite's tests once a session; the benchmark fails with their sentence when red."""

    @cache
    def check(op: str) -> str | None:
        try:
            require_green(by_op[op])
        except ValueError as why:
            return str(why)
        return None

    by_op: dict[str, Suite] = {}

    def require(suite: Suite) -> None:
        by_op[suite.op] = suite
        if why := check(suite.op):
            pytest.fail(why, pytrace=False)

    return require
