"""Estimates that stream over importance samples: the likelihood of data, and their missing entries."""

from iwae_tf.estimates import imputation, likelihood, refinement

__all__ = ["imputation", "likelihood", "refinement"]
