"""Loads the fixtures in the processes that run tests, and not in the one that only distributes them."""


def pytest_configure(config):
    distributes = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    if not distributes:
        config.pluginmanager.import_plugin("tests.fixtures")
