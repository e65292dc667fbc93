"""Recipes: options of runs by name."""

import types

import pytest

from iwae_tf import runs
from iwae_tf.recipes import RECIPES, find_recipe
from tests.fixtures import invoke


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_makes_a_model(name):
    config = runs.Config.from_recipe(name)
    options = find_recipe(name).options
    assert {field: getattr(config, field) for field in options} == options
    assert 0 <= config.first_epochs < runs.schedules(config)[0]
    model = runs.build(config, types.SimpleNamespace(event_shape=(28, 28, 1), mean=None))
    assert [shape[0] for shape in model.latent_shapes] == list(config.latent_sizes)


def test_options_take_precedence_over_a_recipe(monkeypatch, tmp_path):
    name = next(iter(RECIPES))
    config = runs.Config.from_recipe(name, seed=3, num_samples=7)
    assert (config.seed, config.num_samples) == (3, 7)
    configs = []
    monkeypatch.setattr(runs, "train", lambda config, *_, **__: configs.append(config) or {})
    assert invoke("train", "--recipe", name, "--seed", "3", "-k", "7", "-o", tmp_path / "run").exit_code == 0
    assert configs == [config]


def test_other_recipes_there_are_not(tmp_path):
    with pytest.raises(ValueError, match=r"recipe must be one of mnist_iwae_1l_1h, .*. Received: 'cake'"):
        runs.Config.from_recipe("cake")
    refused = invoke("train", "--recipe", "cake", "-o", tmp_path / "run")
    assert refused.exit_code == 1 and "Received: 'cake'" in refused.output
    assert not (tmp_path / "run").exists()
