"""Stochastic layers: a tensor in, a TFP distribution out."""

from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import IndependentBernoulli
from iwae_tf.layers.binarization import StochasticBinarization
from iwae_tf.layers.categorical import Categorical
from iwae_tf.layers.continuous_bernoulli import ContinuousBernoulli
from iwae_tf.layers.counts import IndependentPoisson, NegativeBinomial
from iwae_tf.layers.logistic import DiscretizedLogistic
from iwae_tf.layers.normal import IndependentNormal, StandardNormal

__all__ = [
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "IndependentBernoulli",
    "IndependentNormal",
    "IndependentPoisson",
    "NegativeBinomial",
    "StandardNormal",
    "StochasticBinarization",
    "StochasticLayer",
]
