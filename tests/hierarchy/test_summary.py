"""What a model says of itself."""

import keras
import pytest

import iwae_tf
from iwae_tf import data, layers
from iwae_tf.hierarchy import summary
from iwae_tf.runs import Config

from ..fixtures import small_model


def test_table_has_every_layer_with_its_distribution():
    model = small_model(num_layers=2)
    table = summary.tabulate(model)
    assert list(table.density) == ["q(z1|x)", "q(z2|z1)", "p(z2)", "p(z1|z2)", "p(x|z1)"]
    assert list(table.distribution) == ["Normal"] * 4 + ["Bernoulli"]
    assert list(table.event) == ["(8,)", "(7,)", "(7,)", "(8,)", "(8, 8, 1)"]
    # 64 x 16 weights and 16 biases, then two heads of 16 x 8 weights and 8 biases.
    assert table.parameters[0] == 64 * 16 + 16 + 2 * (16 * 8 + 8)
    assert list(table.layer) == [layer.name for layer in (*model.encoder, model.prior, *model.decoder)]
    assert table.parameters.sum() == sum(weight.shape.num_elements() for weight in model.trainable_variables)


@pytest.mark.parametrize(
    ("options", "densities", "distributions"),
    [
        ({"ladder": True}, ["q(z1|z2, x)", "q(z2|x)", "p(z2)", "p(z1|z2)", "p(x|z1)"], {"Normal", "Bernoulli"}),
        ({"skip": True}, ["q(z1|x)", "q(z2|z1)", "p(z2)", "p(z1|z2)", "p(x|z1, z2)"], {"Normal", "Bernoulli"}),
        ({"posterior": "iaf", "prior": "mixture"}, None, {"Flow", "Mixture", "Normal", "Bernoulli"}),
    ],
)
def test_table_of_other_models(options, densities, distributions):
    table = summary.tabulate(small_model(num_layers=2, **options))
    assert densities is None or list(table.density) == densities
    assert set(table.distribution) == distributions


def test_summary_is_printed(capsys):
    model = small_model()
    model.summary()
    said = capsys.readouterr().out
    assert "p(x|z1)" in said and f"{model.count_params():,} parameters" in said
    lines = []
    model.summary(print_fn=lines.append, expand_nested=True)
    assert lines[0] + "\n" == said and "Total params" in "".join(lines[1:]), "Keras' own table follows"


class Unknown(keras.layers.Layer):
    """A likelihood whose shape is known when data come."""


def test_a_model_that_is_not_built_says_so():
    model = iwae_tf.IWAE([layers.IndependentNormal(3)], [Unknown()], layers.StandardNormal(3))
    assert list(summary.tabulate(model).event) == ["(3,)", "(3,)", "?"]
    assert summary.to_text(model).endswith("model.build((None, *event_shape))")
    assert repr(model) == f"<IWAE name={model.name}, built=False>"


def test_representations_are_short_and_true():
    model = small_model(num_layers=2, name="m")
    assert repr(model) == "<IWAE name=m, event_shape=(8, 8, 1), latent_shapes=[(8,), (7,)], built=True>"
    layer = layers.IndependentNormal(5, name="l")
    assert repr(layer) == "<IndependentNormal name=l, event_shape=(5,), built=False>"
    splits = data.load("digits", batch_size=100)
    assert repr(splits) == "<Splits event_shape=(8, 8, 1), batches: train=13, validation=3, test=3>"
    config = Config(dataset="mnist", latent_sizes=(5, 3))
    assert repr(config) == "Config(dataset='mnist', latent_sizes=(5, 3))" and eval(repr(config)) == config
