"""Stochastic layers: a tensor in, a TFP distribution out."""

from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import IndependentBernoulli
from iwae_tf.layers.binarization import StochasticBinarization
from iwae_tf.layers.categorical import Categorical
from iwae_tf.layers.columns import Column
from iwae_tf.layers.continuous_bernoulli import ContinuousBernoulli
from iwae_tf.layers.counts import IndependentPoisson, NegativeBinomial
from iwae_tf.layers.flow_posteriors import InverseAutoregressiveFlow, PlanarFlow, RealNVP
from iwae_tf.layers.flow_priors import AutoregressiveFlow
from iwae_tf.layers.heterogeneous import Heterogeneous
from iwae_tf.layers.logistic import DiscretizedLogistic
from iwae_tf.layers.mixtures import NormalMixture
from iwae_tf.layers.multivariate_normal import MultivariateNormalTriL
from iwae_tf.layers.normal import IndependentNormal
from iwae_tf.layers.priors import GaussianMixture, StandardNormal, VampPrior
from iwae_tf.layers.table_features import TableFeatures

__all__ = [
    "AutoregressiveFlow",
    "Categorical",
    "Column",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "GaussianMixture",
    "Heterogeneous",
    "IndependentBernoulli",
    "IndependentNormal",
    "IndependentPoisson",
    "InverseAutoregressiveFlow",
    "MultivariateNormalTriL",
    "NegativeBinomial",
    "NormalMixture",
    "PlanarFlow",
    "RealNVP",
    "StandardNormal",
    "StochasticBinarization",
    "StochasticLayer",
    "TableFeatures",
    "VampPrior",
]
