"""Stochastic layers: a tensor in, a TFP distribution out."""

from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import IndependentBernoulli
from iwae_tf.layers.binarization import StochasticBinarization
from iwae_tf.layers.columns import Column
from iwae_tf.layers.heterogeneous import Heterogeneous
from iwae_tf.layers.normal import IndependentNormal, StandardNormal
from iwae_tf.layers.table_features import TableFeatures

__all__ = [
    "Column",
    "Heterogeneous",
    "IndependentBernoulli",
    "IndependentNormal",
    "StandardNormal",
    "StochasticBinarization",
    "StochasticLayer",
    "TableFeatures",
]
