"""Models of sequences, trained by filtering bounds."""

from iwae_tf.sequences.builders import LinearNormal, deep_markov, linear_gaussian, vrnn
from iwae_tf.sequences.state_space import StateSpaceModel

#: The builders of networks for data of any steps, by name.
NETWORKS = {"vrnn": vrnn, "deep-markov": deep_markov}

__all__ = ["NETWORKS", "LinearNormal", "StateSpaceModel", "deep_markov", "linear_gaussian", "vrnn"]
