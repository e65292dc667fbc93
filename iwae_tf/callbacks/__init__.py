"""Keras callbacks."""

from iwae_tf.callbacks.diagnostics import Diagnostics
from iwae_tf.callbacks.guard import NonFiniteGuard
from iwae_tf.callbacks.schedules import BurdaSchedule, CosineSchedule, Temperature, WarmUp
from iwae_tf.callbacks.validation import ValidationLogLikelihood

__all__ = [
    "BurdaSchedule",
    "CosineSchedule",
    "Diagnostics",
    "NonFiniteGuard",
    "Temperature",
    "ValidationLogLikelihood",
    "WarmUp",
]
