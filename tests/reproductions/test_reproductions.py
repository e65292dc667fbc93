"""Every reproduction in its smallest form, on real digits."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from iwae_tf import reproductions, runs
from iwae_tf.reproductions import burda_likelihoods, catalog, clusters, filtering, pages
from iwae_tf.reproductions.budgets import BUDGETS, Budget
from iwae_tf.reproductions.execution import find_changes
from iwae_tf.reproductions.results import Claim, compare_likelihoods, tabulate
from iwae_tf.reproductions.workspace import Workspace
from tests.fixtures import invoke

SMALL = Budget(
    "small", ("digits",), {"epochs": 1}, width=0.06, max_depth=2, num_observations=30, num_samples=30, most=2
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The reproductions share this folder, so that no run is trained twice."""
    return tmp_path_factory.mktemp("reproductions")


@pytest.mark.parametrize("name", catalog.NAMES)
def test_every_reproduction(name, folder):
    result = reproductions.reproduce(name, SMALL, folder, verbose=0)
    assert len(result.table) > 1 and (result.claims or "comparison of our own" in catalog.NAMES[name].changes)
    assert np.isfinite(result.table.select_dtypes("number").dropna(axis="columns", how="all").to_numpy(float)).any()
    assert {claim.verdict for claim in result.claims} <= {"yes", "no", "undecided"}
    written = folder / f"{name}-small"
    assert {path.name for path in written.iterdir()} == {"table.csv", "table.md", "figure.png", "claims.csv", "page.md"}
    page = (written / "page.md").read_text()
    assert catalog.NAMES[name].source in page and "- test samples: 30, published " in page
    assert len(pd.read_csv(written / "table.csv")) == len(result.table)


def test_a_second_call_trains_nothing(folder, monkeypatch):
    first = reproductions.reproduce("burda-switching", SMALL, folder, verbose=0)
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    second = reproductions.reproduce("burda-switching", SMALL, folder, verbose=0)
    pd.testing.assert_frame_equal(first.table, second.table)
    assert first.claims == second.claims


def test_the_second_training_starts_from_the_first(folder):
    result = reproductions.reproduce("burda-switching", SMALL, folder, verbose=0)
    models = (folder / "models").resolve()
    configs = [runs.Config.read(path.parent) for path in models.glob("*/config.json")]
    starts = {Path(config.start_from) for config in configs if config.start_from}
    assert len(starts) == 2 and all(start.parent == models and start.exists() for start in starts)
    assert list(result.table.index) == ["VAE", "VAE, then IWAE-50", "IWAE-50", "IWAE-50, then VAE"]


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS)
@pytest.mark.parametrize("name", catalog.NAMES)
def test_every_run_has_a_folder_of_its_own(name, budget, tmp_path):
    workspace = Workspace(tmp_path)
    configs = catalog.find(name).load().configure(budget, workspace)
    assert len({workspace.find_run(config) for config in configs.values()}) == len(configs) > 1
    sources = {config.source.split("-")[0] for config in configs.values() if not config.data}
    assert sources <= {*budget.datasets, "binarized_mnist", *filtering.DATASETS, *filtering.WITHOUT_MUSIC}


def test_the_paper_is_burdas_protocol(tmp_path):
    configs = burda_likelihoods.configure(BUDGETS["paper"], Workspace(tmp_path))
    assert len(configs) == 3 * 2 * 5
    config = configs["mnist", 2, 50, "IWAE"]
    assert (config.latent_sizes, config.hidden_sizes) == ((100, 50), ((200, 200), (100, 100)))
    assert runs.schedules(config)[0] == 3280 and config.batch_size == 20
    assert (config.num_samples, config.objective, config.test_samples) == (50, "iwae", 5000)
    assert set(configs) <= set(burda_likelihoods.PUBLISHED)


def test_the_budgets():
    hour, paper = BUDGETS["hour"], BUDGETS["paper"]
    assert (hour.count_epochs(), paper.count_epochs()) == (13, 3280)
    assert paper.train_for(2187)["epochs"] == 2187 and hour.train_for(2187)["epochs"] == 9
    assert hour.train_stages(1) == {"stages": 1} and paper.train_stages(3) == {"stages": 3}
    assert BUDGETS["quick"].train_stages(1) == {"epochs": 2} and BUDGETS["quick"].train_stages(3) == {"epochs": 30}
    assert dataclasses.replace(hour, most=3).thin(range(1, 8)) == [1, 4, 7]
    assert hour.thin((1, 5, 50)) == [1, 5, 50]


def test_names_of_runs(tmp_path):
    workspace, other = Workspace(tmp_path / "a"), Workspace(tmp_path / "b", data_dir="elsewhere")
    config = SMALL.config("iwae", 5)
    assert workspace.find_run(config).name == other.find_run(dataclasses.replace(config, data_dir="elsewhere")).name
    names = {workspace.find_run(dataclasses.replace(config, **o)) for o in ({}, {"seed": 1}, {"diagnose": True})}
    assert len(names) == 3
    started = [w.find_run(dataclasses.replace(config, start_from=str(w.find_run(config)))) for w in (workspace, other)]
    assert started[0].name == started[1].name


def test_claims():
    assert Claim("more", 1.0, 0.4).verdict == "yes" and Claim("more", -1.0, 0.4).verdict == "no"
    assert Claim("more", 1.0, 0.5).verdict == "undecided" and Claim("more", math.nan).verdict == "undecided"
    assert Claim("count", 1).verdict == "yes" and Claim("count", 0).verdict == "undecided"
    text = pages.claims_markdown((Claim("a is better than b", 0.5, 0.1),))
    assert "| a is better than b | +0.500 \u00b1 0.100 " in text and "| yes " in text
    assert compare_likelihoods({}, {"absent": ("a", "b")}) == ()


@dataclasses.dataclass
class Scored:
    nll: float
    error: float


def test_published_values_beside_ours():
    trained = {("mnist", 1): Scored(87.0, 0.2), ("mnist", 2): Scored(86.0, 0.3)}
    table = tabulate(trained, ["data", "layers"], {("mnist", 1): 86.5}, twice=lambda run: 2 * run.nll)
    assert list(table.columns) == ["NLL", "error", "published NLL", "difference", "twice"]
    assert table.difference["mnist", 1] == pytest.approx(0.5) and np.isnan(table.difference["mnist", 2])
    assert "published NLL" not in tabulate(trained, ["data", "layers"], {("digits", 1): 1.0})
    cells = [cell.strip() for cell in pages.table_markdown(table).splitlines()[-1].split("|")[1:-1]]
    assert cells == ["mnist", "2", "86.00", "0.300", "", "", "172.00"]


def test_changes_are_found():
    config = runs.Config(num_samples=5)
    changes = find_changes({"a": config, "b": runs.Config(num_samples=50, data_dir="x")}, {"a": config})
    assert changes == {"num_samples": (["5"], ["5", "50"])}
    assert find_changes({"a": config}, {}) == {}


def test_purity():
    """Two clusters: classes 0, 0, 1 and 2, 2."""
    hits = clusters.find_hits(pd.Series([3, 3, 3, 7, 7]), np.array([0, 0, 1, 2, 2]))
    assert hits.tolist() == [1, 1, 0, 1, 1]


def test_the_command_line(folder):
    listed = invoke("reproduce", "-o", folder)
    assert all(name in listed.output for name in catalog.NAMES) and "arXiv:1509.00519" in listed.output
    for arguments, expected in (
        (["everything"], "name must be one of burda-likelihoods"),
        (["renyi", "--budget", "day"], "budget must be one of quick, hour, paper. Received: 'day'"),
    ):
        refused = invoke("reproduce", *arguments, "-o", folder / "none")
        assert refused.exit_code == 1 and expected in refused.output
    assert not (folder / "none").exists()


def test_the_command_line_writes_a_page(folder, monkeypatch):
    monkeypatch.setitem(BUDGETS, "quick", dataclasses.replace(SMALL, name="quick"))
    done = invoke("reproduce", "true-posteriors", "-o", folder)
    assert done.exit_code == 0, done.output
    assert "IWAE-50 is better than the VAE" in done.output and "published" in done.output
    listed = " ".join(invoke("reproduce", "-o", folder).output.split())
    assert "true-posteriors-quick: " in listed and "of 2 claims reproduced" in listed
