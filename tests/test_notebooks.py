"""Every notebook runs from its start to its end with a small budget, and is kept with what it printed and drew."""

import os
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from traitlets.config import Config

from .fixtures import START

FOLDER = Path(__file__).parents[1] / "notebooks"
#: What takes the place of the cell tagged "parameters".
BUDGETS = {
    "01_first_iwae": {"EPOCHS": 5, "TEST_SAMPLES": 100},
    "02_how_many_samples": {"EPOCHS": 2, "NUM_SAMPLES": [1, 5], "TEST_SAMPLES": 100},
    "03_estimators": {"EPOCHS": 1, "MORE_EPOCHS": 1, "NUM_SAMPLES": [1, 8], "REPEATS": 5, "TEST_SAMPLES": 50},
    "04_posteriors_and_priors": {"TOY_EPOCHS": 2, "EPOCHS": 2, "TEST_SAMPLES": 50},
    "05_score_with_a_saved_model": {"EPOCHS": 5, "SCORE_SAMPLES": 50},
    "06_search": {"MAX_TRIALS": 2, "EPOCHS": 1, "TEST_SAMPLES": 50},
    "07_your_own_data": {"EPOCHS": 5, "NUM_SAMPLES": 50},
}
#: Deprecations of the stack are its own affair; these are ours.
WARNINGS = "error::UserWarning,error::RuntimeWarning,error::FutureWarning"


@pytest.mark.parametrize("name", BUDGETS)
def test_notebook_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", WARNINGS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    start = tmp_path / "ipython" / "profile_default" / "startup" / "start.py"
    start.parent.mkdir(parents=True)
    start.write_text(START)
    source = FOLDER / f"{name}.ipynb"
    # Two kernels that start side by side may be given the same TCP ports; each has sockets of its own in a folder.
    config = Config(KernelManager={"transport": "ipc", "ip": str(tmp_path / "kernel")})
    papermill.execute_notebook(
        source, tmp_path / "out.ipynb", BUDGETS[name], cwd=tmp_path, progress_bar=False, config=config
    )


def test_every_notebook_is_here():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(BUDGETS)
    on_the_site = re.findall(r"notebooks/(\w+)\.md", (FOLDER.parent / "mkdocs.yml").read_text())
    assert on_the_site == sorted(BUDGETS)


@pytest.mark.parametrize("name", BUDGETS)
def test_notebook_is_kept_with_its_outputs(name):
    path = FOLDER / f"{name}.ipynb"
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert path.stat().st_size < 1e6
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run from start to end"
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(output.get("name") == "stderr" for output in outputs), "no warnings"
