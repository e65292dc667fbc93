"""The tables and figures of the literature, each from one command.

Each reproduction is a module with two functions: `configure` returns its runs, and `evaluate` makes a table, a figure
and claims of the trained runs.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "budgets": ["BUDGETS", "Budget"],
        "catalog": ["NAMES", "Entry"],
        "execution": ["reproduce", "train"],
        "results": ["Claim", "Result", "TrainedRun"],
        "workspace": ["Workspace"],
    },
)
