"""Every notebook runs from its start to its end with a small budget, and is kept with what it printed and drew."""

import os
import re
import warnings
from pathlib import Path

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

FOLDER = Path(__file__).parents[1] / "notebooks"
#: The folder of the piano rolls, beside that of the prepared TFDS data.
MUSIC = Path(os.environ.get("IWAE_TF_DATA", "../shared/tfds")).resolve().parent / "data" / "polyphonic"
#: What takes the place of the cell tagged "parameters".
BUDGETS = {
    "01_first_iwae": {"EPOCHS": 5, "TEST_SAMPLES": 100},
    "02_how_many_samples": {"EPOCHS": 2, "NUM_SAMPLES": [1, 5], "TEST_SAMPLES": 100},
    "03_estimators": {"EPOCHS": 1, "MORE_EPOCHS": 1, "NUM_SAMPLES": [1, 8], "REPEATS": 5, "TEST_SAMPLES": 50},
    "04_posteriors_and_priors": {"TOY_EPOCHS": 2, "EPOCHS": 2, "TEST_SAMPLES": 50},
    "05_score_with_a_saved_model": {"EPOCHS": 5, "SCORE_SAMPLES": 50},
    "06_search": {"MAX_TRIALS": 2, "EPOCHS": 1, "TEST_SAMPLES": 50},
    "07_your_own_data": {"EPOCHS": 5, "NUM_SAMPLES": 50},
    "08_sequences": {"STEPS": 20, "EPOCHS": 1, "NUM_PARTICLES": 8, "DATA_DIR": str(MUSIC)},
}
#: Deprecations of the stack are its own affair; these are ours.
WARNINGS = UserWarning, RuntimeWarning, FutureWarning


class Shell(InteractiveShell):
    """IPython without a front end to show pictures in."""

    def enable_gui(self, gui=None):
        pass


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """IPython in this process: a kernel would start for longer than most notebooks run."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    yield Shell.instance()
    Shell.clear_instance()


@pytest.mark.parametrize("name", BUDGETS)
def test_notebook_runs(name, shell):
    if "DATA_DIR" in BUDGETS[name] and not MUSIC.is_dir():
        pytest.skip("no piano rolls beside the prepared data")
    notebook = parameterize_notebook(load_notebook_node(str(FOLDER / f"{name}.ipynb")), BUDGETS[name])
    with warnings.catch_warnings():
        for category in WARNINGS:
            warnings.simplefilter("error", category)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                shell.run_cell(cell.source, store_history=True).raise_error()


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
