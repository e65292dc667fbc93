"""Models of sequences, trained by filtering bounds."""

from iwae_tf.sequences.state_space import StateSpaceModel

__all__ = ["StateSpaceModel"]
