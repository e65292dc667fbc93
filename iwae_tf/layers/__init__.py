"""Stochastic layers: each takes a tensor and returns a TFP distribution.

A layer has the name that `tfp.layers` gives it (`IndependentNormal`, `IndependentBernoulli`, `IndependentPoisson`,
`MultivariateNormalTriL`), and otherwise the name of its distribution in `tfp.distributions` (`Categorical`,
`ContinuousBernoulli`, `NegativeBinomial`) or in the literature (`RealNVP`, `VampPrior`). Every
`ObservationLayer` except `PixelCNN`, and `Categorical`, is independent over the entries of its event, whether its name
says so or not.
"""

from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import IndependentBernoulli
from iwae_tf.layers.binarization import Grey, StochasticBinarization
from iwae_tf.layers.categorical import Categorical
from iwae_tf.layers.columns import Column
from iwae_tf.layers.continuous_bernoulli import ContinuousBernoulli
from iwae_tf.layers.counts import IndependentPoisson, NegativeBinomial
from iwae_tf.layers.discrete import BernoulliPrior, CategoricalPrior, OneHotCategorical
from iwae_tf.layers.flow_posteriors import InverseAutoregressiveFlow, PlanarFlow, RealNVP
from iwae_tf.layers.flow_priors import AutoregressiveFlow
from iwae_tf.layers.heterogeneous import Heterogeneous
from iwae_tf.layers.logistic import DiscretizedLogistic
from iwae_tf.layers.mixtures import NormalMixture
from iwae_tf.layers.multivariate_normal import MultivariateNormalTriL
from iwae_tf.layers.normal import IndependentNormal
from iwae_tf.layers.observation import ObservationLayer
from iwae_tf.layers.pixelcnn import PixelCNN
from iwae_tf.layers.priors import GaussianMixture, StandardNormal, VampPrior
from iwae_tf.layers.relaxed import RelaxedBernoulli, RelaxedOneHotCategorical
from iwae_tf.layers.table_features import TableFeatures

__all__ = [
    "AutoregressiveFlow",
    "BernoulliPrior",
    "Categorical",
    "CategoricalPrior",
    "Column",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "GaussianMixture",
    "Grey",
    "Heterogeneous",
    "IndependentBernoulli",
    "IndependentNormal",
    "IndependentPoisson",
    "InverseAutoregressiveFlow",
    "MultivariateNormalTriL",
    "NegativeBinomial",
    "NormalMixture",
    "ObservationLayer",
    "OneHotCategorical",
    "PixelCNN",
    "PlanarFlow",
    "RealNVP",
    "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
    "StandardNormal",
    "StochasticBinarization",
    "StochasticLayer",
    "TableFeatures",
    "VampPrior",
]
