"""The options of runs: every name is known to the help, and every default is written once."""

import pytest

from iwae_tf import options, runs, tuning
from iwae_tf.runs.config import choices


def test_the_names_in_the_help_are_the_registered_ones():
    tables = {**choices(), "tuner": tuning.TUNERS}
    assert {name: sorted(names) for name, names in tables.items()} == {
        name: sorted(names) for name, names in options.NAMES.items()
    }


@pytest.mark.parametrize("field", choices())
def test_unknown_names(field):
    with pytest.raises(ValueError, match=f"{field} must be one of .*{options.NAMES[field][0]}.*Received: 'no'"):
        runs.Config(**{field: "no"})


def test_repr_has_what_differs_from_the_defaults():
    assert repr(runs.Config(seed=3, latent_sizes=(2,))) == "Config(latent_sizes=(2,), seed=3)"
