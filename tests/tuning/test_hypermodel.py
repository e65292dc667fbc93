"""The search space, and the models and runs that it stands for."""

import dataclasses
import inspect

import keras_tuner
import pytest

from iwae_tf import objectives, options, runs, tuning

EVENT = (8, 8, 1)


def sampled(hypermodel, **values):
    """Hyperparameters of a space with these values."""
    hp = keras_tuner.HyperParameters()
    hp.values.update(values)
    return hypermodel.build(hp), hp


def test_names_and_kinds_of_what_is_searched():
    hypermodel = tuning.IWAEHyperModel(EVENT, latent_size=4, hidden_size=[8, 16], depth=(1, 2))
    _, hp = sampled(hypermodel)
    kinds = {p.name: (type(p).__name__, getattr(p, "sampling", None)) for p in hp.space}
    assert kinds == {
        "num_samples": ("Int", "log"), "depth": ("Int", "linear"), "learning_rate": ("Float", "log"),
        "hidden_size": ("Choice", None),
    }  # fmt: skip
    assert hypermodel.searched == ["num_samples", "depth", "learning_rate", "hidden_size"]


def test_a_trial_is_the_model_of_its_configuration():
    hypermodel = tuning.IWAEHyperModel(
        EVENT, latent_size=[50, 7], hidden_size=20, objective=["iwae", "dreg"], prior=["normal", "mixture"], warm_up=3
    )
    values = {
        "num_samples": 6, "depth": 3, "learning_rate": 0.002, "latent_size": 7, "objective": "dreg", "prior": "mixture",
    }  # fmt: skip
    model, hp = sampled(hypermodel, **values)
    config = hypermodel.config({**hp.values, "tuner/epochs": 4}, epochs=9)
    assert config == runs.Config(
        objective="dreg", num_samples=6, prior="mixture", latent_sizes=(7, 3, 1),
        hidden_sizes=((20, 20), (10, 10), (5, 5)), learning_rate=0.002, warm_up=3, epochs=9,
    )  # fmt: skip
    assert model.latent_shapes == [(7,), (3,), (1,)]
    assert model.objective == objectives.ImportanceWeighted(
        6, gradient="doubly_reparameterized", backward_samples="auto"
    )
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.002)


def test_a_search_over_discrete_posteriors():
    """Each has the prior that fits it, and an objective that follows the score."""
    posteriors = ["bernoulli", "categorical"]
    hypermodel = tuning.IWAEHyperModel(EVENT, objective=["vimco", "rws"], posterior=posteriors, depth=2, hidden_size=8)
    model, _ = sampled(hypermodel, posterior="categorical", objective="rws", latent_size=10)
    assert model.latent_shapes == [(10, 10), (5, 10)] and model.prior.event_shape == (5, 10)
    with pytest.raises(ValueError, match=r"Expected one of the objectives nvil, .* with posterior 'bernoulli'"):
        tuning.IWAEHyperModel(EVENT, objective="iwae", posterior=["normal", "bernoulli"])


def test_beta_is_searched_only_where_the_objective_has_one():
    hypermodel = tuning.IWAEHyperModel(EVENT, objective=["iwae", "elbo", "ciwae"], beta=(0.2, 0.9), hidden_size=8)
    _, hp = sampled(hypermodel, objective="iwae")
    assert "beta" not in hp.values and hypermodel.config(hp.values).beta is None
    model, hp = sampled(hypermodel, objective="ciwae", beta=0.7)
    assert model.objective == objectives.CIWAE(50, 0.7, backward_samples="auto")
    (beta,) = (p for p in hp.space if p.name == "beta")
    assert beta.conditions[0].values == ["elbo", "ciwae"]
    fixed = tuning.IWAEHyperModel(EVENT, objective=["iwae", "elbo"], beta=0.3)
    values = {"num_samples": 1, "depth": 1, "learning_rate": 1e-3, "latent_size": 5}
    assert [fixed.config({**values, "objective": name}).beta for name in ("iwae", "elbo")] == [None, 0.3]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": [5, 0]}, "num_samples"),
        ({"depth": (0, 2)}, "depth"),
        ({"depth": 8}, "1 to 7"),
        ({"depth": []}, "at least one value"),
        ({"latent_size": -1}, "latent_size"),
        ({"hidden_size": 1.5}, "hidden_size"),
        ({"learning_rate": (1e-2, 1e-4)}, r"range \(low, high\)"),
        ({"learning_rate": (1e-4, 1e-3, 1e-2)}, r"range \(low, high\)"),
        ({"learning_rate": (0.0, 1e-3)}, "learning_rate"),
        ({"objective": ("elbo", "iwae")}, r"range \(low, high\)"),
        ({"objective": ["iwae", "vae"]}, "Received: 'vae'"),
        ({"prior": ["normal", "uniform"]}, "Received: 'uniform'"),
        ({"posterior": "normals"}, "Received: 'normals'"),
        ({"beta": 0.5}, "beta with one of ciwae, ciwae-dreg, elbo"),
        ({"beta": (0.5, 2.0), "objective": ["iwae", "ciwae"]}, "beta"),
        ({"val_samples": 0}, "val_samples"),
        ({"val_observations": 0}, "val_observations"),
        ({"val_epochs": 0}, "val_epochs"),
        ({"patience": 0}, "patience"),
        ({"backward_samples": 8}, "up to the number of samples, 5"),
        ({"likelihood": "gamma"}, "Received: 'gamma'"),
    ],
)
def test_bad_spaces(space, message):
    with pytest.raises(ValueError, match=message):
        tuning.IWAEHyperModel(EVENT, **space)


def test_defaults_are_those_of_the_command_line():
    parameters = inspect.signature(tuning.IWAEHyperModel).parameters
    defaults = {field.name: field.default for field in dataclasses.fields(options.SpaceOptions)}
    assert {name: parameters[name].default for name in defaults if name in parameters} == {
        name: default
        for name, default in defaults.items()
        if name not in ("network", "likelihood", "warm_up", "backward_samples")
    }


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ({}, {}),
        ({"latent_size": (10, 100), "hidden_size": [100, 200], "objective": ["dreg", "iwae"]}, {}),
        ({"num_samples": (1, 10), "depth": (2, 3), "objective": ["elbo", "dreg"]},
         {"num_samples": 10, "latent_sizes": (50, 25), "hidden_sizes": ((200,) * 2, (100,) * 2), "objective": "elbo"}),
        ({"backward_samples": "auto"}, {"backward_samples": "auto"}),
    ],
)  # fmt: skip
def test_defaults_are_those_of_a_run_or_the_next_in_the_space(space, expected):
    hypermodel = tuning.IWAEHyperModel(EVENT, **space)
    _, hp = sampled(hypermodel)
    assert hypermodel.config(hp.values) == runs.Config(**{"hidden_sizes": ((200, 200),), **expected})


def test_unknown_option():
    with pytest.raises(TypeError, match="widths"):
        tuning.IWAEHyperModel(EVENT, widths=3)


def test_needs_validation_data():
    hypermodel = tuning.IWAEHyperModel(EVENT, hidden_size=8)
    with pytest.raises(ValueError, match="Expected validation_data"):
        hypermodel.fit(keras_tuner.HyperParameters(), None)
