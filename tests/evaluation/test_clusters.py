import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score

import iwae_tf
from iwae_tf import evaluation, layers, objectives

from ..fixtures import small_model


def clustering(num_components, **kwargs):
    return iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(8, hidden=(64,))],
        decoder=[layers.IndependentBernoulli((8, 8, 1), hidden=(64,))],
        prior=layers.GaussianMixture(8, num_components),
        objective=objectives.ImportanceWeighted(5),
        preprocessing=layers.StochasticBinarization(),
        seed=0,
        **kwargs,
    )


def test_clusters_of_digits_agree_with_their_labels():
    """The adjusted Rand index of clusters that know nothing of the labels is 0 to within 0.01 for 1750 digits."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16.0).reshape(-1, 8, 8, 1).astype(np.float32)[:1750]  # whole batches
    model = clustering(10)
    model.compile(keras.optimizers.Adam(3e-3))
    model.fit(images, batch_size=50, epochs=15, verbose=0)
    table = evaluation.responsibilities(model, images)
    assert list(table.columns) == [*(f"component_{c}" for c in range(10)), "most_probable"] and len(table) == 1750
    np.testing.assert_allclose(table.iloc[:, :10].sum(axis=1), 1, rtol=1e-5)
    assert adjusted_rand_score(labels[:1750], table.most_probable) > 0.2


def test_the_most_probable_component_is_the_nearest(x):
    model = clustering(3)
    table = evaluation.responsibilities(model, x, seed=1)
    twice = evaluation.responsibilities(model, tf.data.Dataset.from_tensor_slices(x).batch(20), seed=1)
    assert table.equals(twice)
    processed = model.preprocess(model.as_input(x), iwae_tf.random.fold_in(iwae_tf.random.as_seed(1), 0))
    distances = np.linalg.norm(model.posterior(processed).mean()[:, None] - model.prior.loc.numpy(), axis=-1)
    np.testing.assert_array_equal(table.most_probable, distances.argmin(1))  # all scales are 1 at the start


def test_pseudo_inputs_of_a_deep_model(x):
    model = small_model(2)
    model = iwae_tf.IWAE(model.encoder, model.decoder, layers.VampPrior(4), preprocessing=model.preprocessing, seed=0)
    assert evaluation.responsibilities(model, x).shape == (20, 5)


def test_a_prior_without_components(x):
    with pytest.raises(TypeError, match=r"prior with components.*Received: StandardNormal"):
        evaluation.responsibilities(small_model(), x)
