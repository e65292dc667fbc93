"""The parts of the benchmarks that measure nothing: what they count, and what they make of given figures."""

import itertools
import json

import numpy as np
import pytest

from benchmarks import (
    breakdown,
    compare,
    compilation,
    convolutions,
    distributions,
    floor,
    race,
    scaling,
    sequences,
    tables,
)
from benchmarks.cases import CASES, CONVOLUTIONS, Case, Chain, decoder_sizes, encoder_sizes
from benchmarks.gpu import executions, rate
from benchmarks.turns import Contender, Settings, take_turns


def measured(ms, mib=100.0):
    return {"seconds": ms / 1e3, "rounds": [ms / 1e3], "compiling": 2.0, "peak_mib": mib, "value": 90.0, "versions": {}}


def test_networks_are_those_of_burda():
    assert encoder_sizes(1) == [(784, 200, 200, 100)]
    assert decoder_sizes(1) == [(50, 200, 200, 784)]
    assert encoder_sizes(2) == [(784, 200, 200, 200), (100, 100, 100, 100)]
    assert decoder_sizes(2) == [(50, 100, 100, 200), (100, 200, 200, 784)]
    assert [len(encoder_sizes(7)), len(decoder_sizes(7))] == [7, 7]


def test_networks_of_the_model():
    from benchmarks.ours import Fit

    for num_layers in (1, 2, 3):
        model = Fit(np.zeros((20, 784), np.uint8), 1, 20, num_layers).model
        sizes = [pair for chain in Case(1, 1, num_layers).chains() for pair in itertools.pairwise(chain.sizes)]
        dense = sum((inner + 1) * columns for inner, columns in sizes)
        assert model.count_params() - 1 == dense  # but for kl_weight


def test_chains_have_the_rows_of_the_case():
    assert Case(50, 20, 2, steps=1).chains() == [
        Chain(20, (784, 200, 200, 200), True),
        Chain(1000, (100, 100, 100, 100), False),
        Chain(1000, (50, 100, 100, 200), False),
        Chain(1000, (100, 200, 200, 784), False),
    ]


def test_flops():
    encoder, decoder = 784 * 200 + 200 * 200 + 200 * 100, 50 * 200 + 200 * 200 + 200 * 784
    assert Case(50, 20, steps=7).flops() == 2 * (20 * (3 * encoder - 784 * 200) + 1000 * 3 * decoder)
    assert Case(5000, 100).flops() == 2 * (100 * encoder + 500_000 * decoder)


def test_names_differ():
    assert len({case.name for case in CASES}) == len(CASES)
    assert len({contender.name for contender in distributions.contenders()}) == 10


def test_gradients_of_a_chain():
    random = np.random.default_rng(0)
    x, *weights = random.normal(size=(4, 3)), random.normal(size=(3, 5)), random.normal(size=(5, 2))
    h, y = x @ weights[0], x @ weights[0] @ weights[1]
    through = y @ weights[1].T
    expected = [h.T @ y, x.T @ through, through @ weights[0].T]
    for reads_data in (True, False):
        results = floor.chain_gradients(x, weights, reads_data)
        assert len(results) == 3 - reads_data
        for result, right in zip(results, expected, strict=False):
            np.testing.assert_allclose(result, right)


def test_blocks_hold_all_rows():
    chain = Chain(500_000, (50, 784), False)
    assert floor.num_blocks(chain) == 200
    assert floor.num_blocks(chain._replace(rows=1)) == 1


def test_turns(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((20, 784), np.uint8))
    settings = Settings("", str(tmp_path / "images.npy"), "zeros", 2, False, "python", "cpu")
    contenders = [
        Contender("idle", "tests.benchmarks.contenders:Idle", {"value": 3.0}),
        Contender("missing", "no_such_module:Peer"),
    ]
    results = take_turns(contenders, Case(1, 20, steps=4), settings)
    assert list(results) == ["idle", "missing"]
    assert results["idle"]["value"] == 12
    assert len(results["idle"]["rounds"]) == 2
    assert 1 < results["idle"]["peak_mib"] < 1000
    assert results["missing"] == {"absent": "ModuleNotFoundError: No module named 'no_such_module'"}
    failed = take_turns(contenders[:1], Case(5000, 10), settings)
    assert failed == {"idle": {"absent": "ValueError: no likelihood of (10, 784)"}}


@pytest.mark.parametrize(
    ("value", "text"), [(0.41234, "0.412"), (5.0, "5.00"), (123.4, "123"), (3396.3, "3,396"), (0.01, "0.0100")]
)
def test_number(value, text):
    assert tables.number(value) == text


def test_comparison_as_a_table():
    absent = {"absent": "ModuleNotFoundError: No module named 'pythae'"}
    floors = {"floor, PyTorch": measured(3), "floor, JAX": measured(2)}
    cases = {
        "k = 1": {"iwae_tf": measured(4), "JAX": measured(5), **floors},
        "likelihood": {"iwae_tf": measured(1e4), "pythae": absent},
    }
    times, compiling, memory, reason = compare.table({"cases": cases}).split("\n\n")
    assert times.splitlines() == [
        "| ms (ratio) | iwae_tf | JAX | floor | pythae |",
        "| --- | --- | --- | --- | --- |",
        "| k = 1 | 4.00 (1.00) | 5.00 (1.25) | 2.00 (0.50) |  |",
        "| likelihood | 10,000 (1.00) |  |  | absent |",
    ]
    assert compiling.splitlines()[2] == "| k = 1 | 2.0 | 2.0 | 2.0 |  |"
    assert memory.splitlines()[2] == "| k = 1 | 100 | 100 | 100 |  |"
    assert reason == f"pythae: {absent['absent']}"


def test_breakdown_adds_up():
    ms = dict(
        zip(("fit", "bare loop", *breakdown.PARTS), (6.0, 5.0, 2.0, 2.5, 1.0, 0.25, 0.25, 0.25, 0.25), strict=True)
    )
    lines = breakdown.table({"cases": {"k = 50": {name: measured(value) for name, value in ms.items()}}}).splitlines()
    assert "| dense products | 2.00 | 40% |" in lines
    assert "| biases and activations (networks less products) | 0.500 | 10% |" in lines
    assert next(line for line in lines if "rest" in line).endswith("| 0.500 | 10% |")


def test_other_tables():
    fits = {"k = 1": [{"seconds": 3.0, "programs": 2}, {"seconds": 0.5, "programs": 0}]}
    assert compilation.table({"fits": fits}).splitlines()[-1] == "| k = 1 | 3.00 | 2 | 0.50 | 0 |"
    steps = {str(n): measured(2) for n in executions.STEPS}
    assert executions.table({"cases": {"k = 1": steps}}).splitlines()[-1] == "| k = 1 | 500 | 500 | 500 | 500 |"
    result = {"cases": {"k = 1": {"iwae_tf": measured(1)}}, "peak": 1e12, "flops": {"k = 1": 5e8}}
    assert "| k = 1 | 0.500 | 1.00 | 50.00% |" in rate.table(result).splitlines()


def test_scaling_as_a_table_and_a_picture(tmp_path):
    curves = {name: {str(point): measured(point) for point in points} for name, points in scaling.CURVES.items()}
    curves["samples k, batch 20"]["5000"] = {"absent": "its process ended with code -9"}
    assert "| 7 | 7.00 | 1.00 | 100 |" in scaling.table({"curves": curves})
    scaling.draw({"curves": curves}).savefig(tmp_path / "scaling.png")


def test_json(tmp_path):
    tables.write(tmp_path / "results", "comparison", {"cases": {}}, rounds=5)
    content = json.loads((tmp_path / "results" / "comparison.json").read_text())
    assert content["rounds"] == 5
    assert content["cases"] == {}
    assert "cores" in content["machine"]


def test_times_of_a_race():
    """Every epoch counts as long as the median; a target is passed between two epochs, by interpolation."""
    epochs = {"epochs": [30.0, 11.0, 70.0, 10.0], "likelihoods": [-120.0, -100.0, -96.0, -95.0]}
    curve = race.make_curve(**epochs)
    assert curve == [[11.0, -120.0], [22.0, -100.0], [33.0, -96.0], [44.0, -95.0]]
    assert race.find_time(curve, -110.0) == 16.5 and race.find_time(curve, -98.0) == 27.5
    assert race.find_time(curve, -130.0) == 11.0 and np.isnan(race.find_time(curve, -90.0))
    full = {"epochs": [5.5], "likelihoods": [-99.0]}
    races = {"0": {"JAX": epochs, "iwae_tf": full}, "1": {"JAX": epochs, "PyTorch": {"absent": "no torch"}}}
    result = {"races": races, "targets": [-100.0, -90.0]}
    assert race.table(result).splitlines()[2:] == [
        "| iwae_tf | 1 | 6 s (4.00) | not reached |", "| JAX | 2 | 22 s (1.00) | not reached |", "",
        "PyTorch: no torch",
    ]  # fmt: skip
    lines = race.draw(result).axes[0].lines
    assert [line.get_label()[0] for line in lines] == ["i", "J", "_"], "one entry of the legend for each contender"


def test_sequences(tmp_path):
    rolls = sequences.load_rolls(tmp_path, 7, count=5)  # no .mat file is there: noise in its place
    assert rolls.shape == (5, 7, sequences.NUM_NOTES) and set(np.unique(rolls)) == {0, 255}
    ours = sequences.Ours(rolls, num_samples=2, batch_size=2, size=3)
    assert np.isfinite(ours.train(2)) and np.isfinite(ours.log_likelihood(rolls[:2] / 255, 4)).all()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_products_over_patches_are_convolutions(name):
    ours = convolutions.Ours(None, 1, 2, name=name)
    direct, patches = (
        f(CONVOLUTIONS[name], ours._x, ours._kernel) for f in (convolutions._convolve, convolutions._convolve_patches)
    )
    np.testing.assert_allclose(direct, patches, atol=1e-4)
