"""Models of sequences, trained by filtering bounds."""

from iwae_tf.sequences.builders import LinearNormal, deep_markov, linear_gaussian, vrnn
from iwae_tf.sequences.state_space import StateSpaceModel

__all__ = ["LinearNormal", "StateSpaceModel", "deep_markov", "linear_gaussian", "vrnn"]
