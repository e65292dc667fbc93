"""What no likelihood has: refused by the model, by its SavedModel alone, and row by row by the scoring of files."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import data, layers, objectives, scoring
from iwae_tf.layers import rules
from iwae_tf.layers.observation import ObservationLayer

EVENT = (2, 3)


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, a good observation, and numbers that are no value of its first entry, or of those of a dict."""

    make: Callable
    good: np.ndarray
    bad: tuple[float, ...] | dict[int, tuple[float, ...]]
    says: str

    def rows(self):
        """Returns a row for each number that is no value."""
        places = self.bad if isinstance(self.bad, dict) else {0: self.bad}
        rows = []
        for place, values in places.items():
            for value in values:
                rows.append(self.good.copy())
                rows[-1].flat[place] = value
        return np.stack(rows)


def of(layer, **kwargs):
    return lambda: iwae_tf.IWAE(
        [layers.IndependentNormal(2)], [layer()], layers.StandardNormal(2), objectives.ELBO(), seed=0, **kwargs
    )


FRAME = pd.DataFrame(
    {
        "real": [0.5, -1.0, 2.0],
        "positive": [0.5, 1.0, 2.0],
        "count": [0, 3, 2],
        "binary": [True, False, True],
        "category": ["a", "b", "c"],
    }
)
TABLE = data.from_dataframe(FRAME, {"positive": "positive"})


def of_table():
    return iwae_tf.tabular(TABLE, (2,), ((4,),), objective=objectives.ELBO(), seed=0)


class Exponential(ObservationLayer):
    """A user's own likelihood, of numbers above 0, with a rule of its own."""

    parameters = ("log_rate",)

    def rules(self, x):
        yield from super().rules(x)
        x = rules.as_comparable(x)
        yield rules.Rule("numbers above 0", x, x > 0)

    def distribution(self, log_rate):
        return tfd.Independent(tfd.Exponential(tf.exp(log_rate)), len(self.event_shape))


INSIDE = np.full(EVENT, 0.5, np.float32)
FINITE = (np.nan, np.inf, -np.inf)
CASES = {
    "bernoulli": Case(of(lambda: layers.IndependentBernoulli(EVENT)), INSIDE, (255.0, -0.1, *FINITE), "[0, 1]"),
    "continuous bernoulli": Case(of(lambda: layers.ContinuousBernoulli(EVENT)), INSIDE, (255.0, 1.1), "[0, 1]"),
    "logistic": Case(of(lambda: layers.DiscretizedLogistic(EVENT)), INSIDE * 0 + 0.2, (255.0, 0.5), "1"),
    "logistic mixture": Case(
        of(lambda: layers.DiscretizedLogistic(EVENT, num_components=2)), INSIDE * 0 + 0.2, (2.0, 0.5), "1"
    ),
    "normal": Case(of(lambda: layers.IndependentNormal(EVENT)), INSIDE, FINITE, "finite"),
    "poisson": Case(of(lambda: layers.IndependentPoisson(EVENT)), INSIDE * 0 + 2, (2.5, -3.0, *FINITE), "o"),
    "negative binomial": Case(of(lambda: layers.NegativeBinomial(EVENT)), INSIDE * 0 + 2, (2.5, -3.0), "o"),
    "categorical": Case(of(lambda: layers.Categorical(EVENT, 3)), INSIDE * 0 + 2, (7.0, 0.5, -1.0), "codes"),
    "a user's own": Case(of(lambda: Exponential(EVENT)), INSIDE + 1, (0.0, -1.0), "above 0"),
    "binarised": Case(
        of(lambda: layers.IndependentBernoulli(EVENT), preprocessing=layers.StochasticBinarization()),
        INSIDE, (255.0, -1.0, np.nan), "[0, 1]",
    ),
    "rescaled": Case(
        of(lambda: layers.IndependentBernoulli(EVENT), preprocessing=keras.layers.Rescaling(1 / 10)),
        INSIDE, (255.0, -1.0, np.nan), "[0, 1]",
    ),
    "grey levels": Case(
        of(lambda: layers.DiscretizedLogistic(EVENT), preprocessing=layers.Grey()),
        INSIDE * 0 + 0.2, (0.5,), "multiples",
    ),
    "incomplete": Case(
        of(lambda: layers.IndependentBernoulli(EVENT), incomplete=True), INSIDE, (255.0, np.inf), "[0, 1]"
    ),
    "table": Case(
        of_table, TABLE.array[0],
        {1: (-1.0, 0.0), 2: (2.5, -3.0), 3: (0.3, 2.0), 4: (0.5, 3.0, 7.0), 0: (np.inf,)}, "column 'positive'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_that_no_likelihood_has(name):
    """Refused by the model, and in a graph, as its exports have it."""
    case = CASES[name]
    model = case.make()
    graph = tf.function(lambda x: model.preprocess_and_assert(model.assert_rules(x), tf.zeros(2, tf.int32)))
    graph(tf.constant(case.good[np.newaxis]))
    for row in case.rows():
        with pytest.raises(ValueError, match="Expected"):
            model.log_likelihood(row[np.newaxis], 5)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"Expected .* Received"):
            graph(tf.constant(np.stack([case.good, row])))


#: Likelihoods whose every endpoint is tried, since exports take seconds: with and without preprocessing, and a table.
EXPORTED = ("bernoulli", "categorical", "a user's own", "rescaled", "grey levels", "table")


@pytest.mark.parametrize("name", EXPORTED)
def test_exports_refuse_them_alone(name, tmp_path):
    case = CASES[name]
    model = case.make()
    good = np.stack([case.good] * 3)
    scores = model.log_likelihood(good, 5, seed=0).numpy()
    path = iwae_tf.export(model, tmp_path / "m", 5)
    exported = tf.saved_model.load(str(path))
    np.testing.assert_array_equal(exported.log_likelihood(tf.constant(good))["log_likelihood"], scores)
    bad = case.rows()
    for row in bad:
        for endpoint in ("log_likelihood", "encode", "reconstruct"):
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"Expected .* Received"):
                getattr(exported, endpoint)(x=tf.constant(np.stack([*good, row])))
    np.save(tmp_path / "x.npy", np.concatenate([good, bad]))
    summary = scoring.score(path, tmp_path / "x.npy", tmp_path / "scores.csv")
    assert summary.rejected == len(bad) and np.isfinite(summary.mean_log_likelihood)
    reasons = pd.read_csv(summary.rejected_path).reason
    assert reasons.str.startswith("Expected").all() and reasons.str.contains("Received").all()
    assert case.says in reasons[0]


def test_missing_values_of_a_table_are_scored(tmp_path):
    x = TABLE.array.copy()
    x[0, 1:3] = np.nan
    model = of_table()
    exported = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "m", 5)))
    np.testing.assert_array_equal(
        exported.log_likelihood(tf.constant(x))["log_likelihood"], model.log_likelihood(x, 5, seed=0)
    )


@pytest.mark.parametrize("name", CASES)
def test_rules_are_alike_for_arrays_tensors_and_graphs(name):
    case = CASES[name]
    model = case.make()
    graph = tf.function(lambda x: rules.are_satisfied(model.rules(x)))
    for x in [case.good[np.newaxis], *case.rows()[:, np.newaxis]]:
        of_array = all(np.all(rule.valid) for rule in model.rules(x))
        assert of_array == bool(rules.are_satisfied(model.rules(tf.constant(x)))) == bool(graph(tf.constant(x)))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "int32"])
def test_rules_of_integers(dtype):
    x = np.array([[0, 1]], dtype)
    for given in (x, tf.constant(x)):
        rules.check([rules.finite(given), rules.between(given, "data"), rules.whole(given, "data")])
    if dtype != "bool":
        for given in (x + 1, tf.constant(x + 1)):
            with pytest.raises(ValueError, match=r"data in \[0, 1\]. Received: values from 1 to 2, such as 2"):
                rules.check([rules.between(given, "data")])
