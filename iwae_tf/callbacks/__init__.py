"""Keras callbacks."""

from iwae_tf.callbacks.diagnostics import Diagnostics
from iwae_tf.callbacks.guard import NonFiniteGuard
from iwae_tf.callbacks.schedules import BurdaSchedule, WarmUp
from iwae_tf.callbacks.validation import ValidationLogLikelihood

__all__ = ["BurdaSchedule", "Diagnostics", "NonFiniteGuard", "ValidationLogLikelihood", "WarmUp"]
