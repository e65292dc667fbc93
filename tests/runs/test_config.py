"""The options of runs: every name is known to the help, and every default is written once."""

import re

import pytest

from iwae_tf import options, runs, tuning
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
