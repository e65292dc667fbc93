"""Loads the fixtures in the processes that run tests, and not in the one that only distributes them."""

import pytest

pytest.register_assert_rewrite("tests.fixtures")


def pytest_configure(config):
    distributes = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if not distributes:
        config.pluginmanager.import_plugin("tests.fixtures")
