import itertools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import builders, evaluation, layers, objectives, plots
from iwae_tf.hierarchy import summary

XLA = True
SHAPE = (8, 8, 1)
CONTINUOUS = [name for name in builders.POSTERIORS if name not in builders.DISCRETE]
CONTINUOUS_PRIORS = [name for name in builders.PRIORS if name not in builders.DISCRETE]
#: Every name in one of as many models as there are posteriors; discrete variables have the prior of their own.
CHOICES = [
    {"posterior": posterior, "prior": prior, "likelihood": likelihood}
    for posterior, prior, likelihood in zip(
        [*CONTINUOUS, *builders.DISCRETE],
        [*itertools.islice(itertools.cycle(CONTINUOUS_PRIORS), len(CONTINUOUS)), *builders.DISCRETE],
        itertools.cycle(builders.LIKELIHOODS),
        strict=False,
    )
]


def small(builder=iwae_tf.mlp, **options):
    sizes = {"latent_sizes": (3,), "hidden_sizes": ((8,),)} if builder is iwae_tf.mlp else {"latent_size": 3}
    mode = "dynamic" if options.get("likelihood", "bernoulli") in builders.BINARY_LIKELIHOODS else "none"
    preprocessing = layers.StochasticBinarization(mode)
    make = (
        objectives.VIMCO if options.get("posterior") in ("bernoulli", "categorical") else objectives.ImportanceWeighted
    )
    objective = make(5)
    return builder(SHAPE, **{**sizes, "preprocessing": preprocessing, "objective": objective, "seed": 0, **options})


@pytest.mark.parametrize("options", CHOICES, ids=lambda options: ", ".join(options.values()))
def test_every_name_makes_a_model_that_learns(options, x):
    """With the defaults of `compile`, on real digits."""
    model = small(**options, mean=0.3)
    model.compile("adam", steps_per_execution=5)
    before = model.evaluate(x, batch_size=20, verbose=0, return_dict=True)["loss"]
    model.fit(x, batch_size=20, epochs=30, verbose=0)
    after = model.evaluate(x, batch_size=20, verbose=0, return_dict=True)["loss"]
    assert model.jit_compile == ("pixelcnn" not in options["likelihood"]) and after < before
    assert np.isfinite(model.log_likelihood(x[:2], 20)).all()
    assert model.sample(2, seed=0).shape == (2, *SHAPE)


def test_convolutions_take_the_same_names(x):
    model = small(iwae_tf.conv, filters=(2, 3), posterior="realnvp", prior="vamp", likelihood="logistic")
    assert isinstance(model.encoder[0], layers.RealNVP) and isinstance(model.prior, layers.VampPrior)
    assert model.prior.activation == "sigmoid"  # of the space of images
    assert np.isfinite(model.log_weights(x, 2)).all()


def test_a_class_or_a_layer_in_place_of_a_name():
    prior = layers.GaussianMixture(3, num_components=2)
    model = small(posterior=layers.PlanarFlow, prior=prior)
    assert isinstance(model.encoder[0], layers.PlanarFlow) and model.prior is prior


def test_default_widths_of_any_depth():
    """Burda's networks: two layers of 200 next to x, of 100 between latent variables."""
    model = iwae_tf.mlp((3,), (5, 4, 3))
    assert [layer.hidden for layer in model.encoder] == [(200, 200), (100, 100), (100, 100)]


def test_pseudo_inputs_of_upper_layers_are_no_images():
    model = iwae_tf.mlp(SHAPE, (3, 2), ((8,), (8,)), prior="vamp")
    assert model.prior.activation == "linear" and model.prior.pseudo_inputs.shape == (100, 3)


@pytest.mark.parametrize("part", ["posterior", "prior", "likelihood"])
def test_unknown_names(part):
    with pytest.raises(ValueError, match=f"{part} must be one of .*normal.* Received: 'gaussian'"):
        small(**{part: "gaussian"})


def test_registered_names_make_models(x):
    builders.register("posterior", "two", lambda size, **kwargs: layers.NormalMixture(size, num_components=2, **kwargs))
    builders.register("prior", "two", lambda size, unit: layers.GaussianMixture(size, num_components=2))
    builders.register("likelihood", "laplace", Laplace)
    model = small(posterior="two", prior="two", likelihood="laplace")
    assert model.encoder[0].num_components == model.prior.num_components == 2
    assert isinstance(model.decoder[0], Laplace) and np.isfinite(model.log_likelihood(x, 5)).all()


class Laplace(layers.StochasticLayer):
    """A likelihood without the keyword `mean`."""

    parameters = ("loc",)

    def distribution(self, loc):
        return tfd.Independent(tfd.Laplace(loc, 1.0), 3)


@pytest.mark.parametrize("kind", ["posterior", "prior", "likelihood"])
def test_a_name_is_registered_once(kind):
    with pytest.raises(ValueError, match=f"name of a {kind} that is not registered yet. Received: 'normal'"):
        builders.register(kind, "normal", layers.IndependentNormal)
    with pytest.raises(TypeError, match=f"Expected a function that makes a {kind}. Received: 3"):
        builders.register(kind, "other", 3)
    with pytest.raises(ValueError, match="kind must be one of posterior, prior, likelihood"):
        builders.register("decoder", "other", layers.IndependentNormal)


@pytest.mark.parametrize("name", builders.DISCRETE)
def test_discrete_names_choose_what_fits_them(name):
    """The prior by default, and the conditionals between layers, of the same sizes."""
    model = small(latent_sizes=(4, 3), hidden_sizes=((8,), (8,)), posterior=name)
    (q1, q2), (p1, _) = model.encoder, model.decoder
    assert type(q1) is type(q2) is type(p1) and p1.event_shape == q1.event_shape
    assert model.prior.event_shape == q2.event_shape and q2.event_shape[0] == 3
    assert ("relaxed" in name) == (len(model.temperatures) == 4)
    conv = small(iwae_tf.conv, filters=(2, 3), posterior=name)
    assert type(conv.prior) is type(model.prior)


@pytest.mark.parametrize(
    ("posterior", "prior"), [("bernoulli", "normal"), ("normal", "bernoulli"), ("categorical", "relaxed-categorical")]
)
def test_a_prior_of_another_kind_is_refused(posterior, prior):
    expected = f"the posterior's name. Received: posterior='{posterior}', prior='{prior}'"
    with pytest.raises(ValueError, match=re.escape(expected)):
        small(posterior=posterior, prior=prior)


@pytest.mark.parametrize("name", ["bernoulli", "relaxed-categorical"])
def test_discrete_models_in_use(name, x, tmp_path):
    """Saved, exported, summarised, evaluated and drawn; `encode` gives probabilities."""
    x = np.where(x > 127, 255, 0).astype(np.uint8)  # which are binarised the same every time
    model = small(latent_sizes=(4, 3), hidden_sizes=((8,), (8,)), posterior=name)
    model.compile("adam", jit_compile=False)
    model.fit(x, batch_size=20, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.log_weights(x, 3, seed=0), model.log_weights(x, 3, seed=0))
    endpoints = tf.saved_model.load(str(iwae_tf.export(model, tmp_path / "export", num_samples=10))).signatures
    encoded = endpoints["encode"](x=tf.constant(x))
    p = encoded["mean"].numpy()
    np.testing.assert_allclose(p, model.encode(x).mean(), rtol=1e-4)
    np.testing.assert_allclose(encoded["stddev"], (p * (1 - p)) ** 0.5, rtol=1e-3)
    assert np.isfinite(endpoints["log_likelihood"](x=tf.constant(x))["log_likelihood"]).all()
    distribution = "Bernoulli" if name == "bernoulli" else "RelaxedOneHotCategorical"
    assert list(summary.tabulate(model).distribution) == [distribution] * 4 + ["Bernoulli"]
    units = evaluation.active_units(model, x, num_samples=2)
    np.testing.assert_allclose(
        units.query("layer == 1").activity, model.encode(x).mean().numpy().reshape(20, -1).var(0, ddof=1), rtol=1e-3
    )
    for draw in (plots.samples, plots.reconstructions, plots.aggregated_posterior):
        draw(*([model] if draw is plots.samples else [model, x])).savefig(tmp_path / "picture.png")


def test_what_discrete_variables_cannot_have(x):
    model = small(latent_sizes=(2,), posterior="bernoulli")
    with pytest.raises(ValueError, match="Expected continuous latent variables, which follow gradients"):
        evaluation.ais(model, x, 2, 2, 1)
    with pytest.raises(ValueError, match="Expected continuous latent variables, which have Gaussians"):
        evaluation.inference_gaps(model, x, 2, 2)
    with pytest.raises(ValueError, match="Expected continuous latent variables, which fill a plane"):
        plots.manifold(model)
