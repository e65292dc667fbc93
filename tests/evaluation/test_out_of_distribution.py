import numpy as np

from iwae_tf import evaluation


def test_shifted_data_are_found(linear_gaussian):
    """Twenty standard deviations away every score says so; data of the same distribution look the same."""
    model = linear_gaussian.model()
    inside, same = linear_gaussian.sample(300), linear_gaussian.sample(300, seed=2)
    far = evaluation.out_of_distribution(model, inside, same + 20, 50).set_index("score")
    assert (far.auroc == 1).all() and (far.auprc > 0.999).all() and (far.fpr95 == 0).all()
    near = evaluation.out_of_distribution(model, inside, same, 50, reference=inside).set_index("score")
    assert (abs(near.auroc - 0.5) < 5 / (12 * 300 / 2) ** 0.5).all()  # standard error 0.024
    assert near.fpr95.between(0.85, 1).all()


def test_what_is_too_likely_is_untypical(linear_gaussian):
    """At the mode of p(x) the likelihood is the highest there is: no anomaly by it, one by typicality."""
    model, inside = linear_gaussian.model(), linear_gaussian.sample(300)
    mode = np.tile(linear_gaussian.b.astype(np.float32), (50, 1))
    table = evaluation.out_of_distribution(model, inside, mode, 50).set_index("score")
    assert table.auroc.log_likelihood < 0.05 and table.auroc.typicality > 0.6


def test_ratio_to_a_background_model(linear_gaussian):
    model, background = linear_gaussian.model(), linear_gaussian.model()
    background.decoder[0].heads[1].bias.assign(np.full(5, 0.5))  # wider
    inside, outside = linear_gaussian.sample(200), 1.5 * linear_gaussian.sample(200, seed=3)
    table = evaluation.out_of_distribution(model, inside, outside, 200, background=background).set_index("score")
    assert list(table.index) == ["log_likelihood", "typicality", "likelihood_ratio"]
    assert table.auroc.likelihood_ratio > 0.55
