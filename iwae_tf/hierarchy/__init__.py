"""The two networks over z_1, ..., z_L: sampling from q, scoring under p and q."""

from iwae_tf.hierarchy.hierarchy import Hierarchy
from iwae_tf.hierarchy.terms import Terms

__all__ = ["Hierarchy", "Terms"]
