"""The two networks over z_1, ..., z_L: sampling from q, scoring under p and q."""

from iwae_tf.hierarchy.hierarchy import Hierarchy, Terms

__all__ = ["Hierarchy", "Terms"]
