"""Stochastic layers: a tensor in, a TFP distribution out."""

from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import IndependentBernoulli
from iwae_tf.layers.binarization import StochasticBinarization
from iwae_tf.layers.flows import AutoregressiveFlow, InverseAutoregressiveFlow, PlanarFlow, RealNVP
from iwae_tf.layers.normal import IndependentNormal, StandardNormal

__all__ = [
    "AutoregressiveFlow",
    "IndependentBernoulli",
    "IndependentNormal",
    "InverseAutoregressiveFlow",
    "PlanarFlow",
    "RealNVP",
    "StandardNormal",
    "StochasticBinarization",
    "StochasticLayer",
]
