"""The options of runs: every name is known to the help, and every default is written once."""

import re

import pytest

from iwae_tf import data, layers, options, runs, tuning
from iwae_tf.runs.config import choices
from tests.fixtures import invoke


def test_the_names_in_the_help_are_the_registered_ones():
    tables = {**choices(), "tuner": tuning.TUNERS}
    assert {name: sorted(names) for name, names in tables.items()} == {
        name: sorted(names) for name, names in options.NAMES.items()
    }


@pytest.mark.parametrize("field", choices())
def test_unknown_names(field):
    with pytest.raises(ValueError, match=f"{field} must be one of .*{options.NAMES[field][0]}.*Received: 'no'"):
        runs.Config(**{field: "no"})


def test_discrete_posteriors_need_an_objective_that_follows_the_score():
    expected = (
        "objectives nvil, ovis, reinforce, rws, tvo, vimco, wake-sleep with posterior 'bernoulli'. Received: 'iwae'"
    )
    with pytest.raises(ValueError, match=re.escape(expected)):
        runs.Config(posterior="bernoulli")
    for posterior, objective in (("categorical", "rws"), ("bernoulli", "vimco"), ("relaxed-bernoulli", "iwae")):
        assert runs.Config(posterior=posterior, objective=objective).prior is None


def test_repr_has_what_differs_from_the_defaults():
    assert repr(runs.Config(seed=3, latent_sizes=(2,))) == "Config(latent_sizes=(2,), seed=3)"


def test_runs_differentiate_the_samples_that_matter_by_default():
    assert runs.Config().make_objective().num_backward == 8
    assert runs.Config(backward_samples=None).make_objective().num_backward == 50
    for name in ("elbo", "jackknife", "iwae-sampled"):  # which have no such choice
        assert runs.Config(objective=name).make_objective().backward_samples in (None, 1)


@pytest.mark.parametrize(("text", "expected"), [("all", None), ("auto", "auto"), ("7", 7)])
def test_backward_samples_of_the_command_line(text, expected, monkeypatch):
    configs = []
    monkeypatch.setattr(runs, "train", lambda config, *_, **__: configs.append(config) or {})
    assert invoke("train", "--backward-samples", text).exit_code == 0
    assert configs[0].backward_samples == expected


def test_other_backward_samples_are_refused():
    assert "expected auto, all or an integer" in " ".join(invoke("train", "--backward-samples", "some").output.split())


def test_pixelcnn_and_convolutions_have_their_sizes():
    config = runs.Config(
        network="conv", hidden_sizes=((4, 6),), latent_sizes=(2,), likelihood="pixelcnn", pixel_layers=2,
        pixel_filters=5, pixel_kernel=3, objective="elbo", num_samples=1, free_bits=0.5,
    )  # fmt: skip
    model = runs.build(config, data.load("digits", 20))
    network = model.decoder[0].causal_network
    assert (network.num_layers, network.filters, network.kernel_size, network.condition) == (2, 5, 3, "last")
    assert model.encoder[0].network.filters == (4, 6) and model.decoder[0].network.filters == (6, 4)
    assert model.objective.free_bits == 0.5 and isinstance(model.preprocessing, layers.StochasticBinarization)


def test_bad_sizes_of_pixelcnn():
    with pytest.raises(ValueError, match=r"pixel_kernel to be odd. Received: 4"):
        runs.Config(pixel_kernel=4)
    with pytest.raises(ValueError, match="pixel_filters"):
        runs.Config(pixel_filters=0)
    with pytest.raises(ValueError, match=r"free_bits with one of elbo only. Received: free_bits=1.0 with 'iwae'"):
        runs.Config(free_bits=1.0)
