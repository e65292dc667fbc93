import numpy as np
import pytest
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import builders, layers, objectives

XLA = True
SHAPE = (8, 8, 1)
TABLES = {"posterior": builders.POSTERIORS, "prior": builders.PRIORS, "likelihood": builders.LIKELIHOODS}
#: Every name in at least one of as many models as the longest table has names.
CHOICES = [
    {kind: list(table)[i % len(table)] for kind, table in TABLES.items()} for i in range(max(map(len, TABLES.values())))
]


def small(builder=iwae_tf.mlp, **options):
    sizes = {"latent_sizes": (3,), "hidden_sizes": ((8,),)} if builder is iwae_tf.mlp else {"latent_size": 3}
    mode = "dynamic" if options.get("likelihood", "bernoulli") in builders.BINARY_LIKELIHOODS else "none"
    preprocessing = layers.StochasticBinarization(mode)
    objective = objectives.ImportanceWeighted(5)
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
