"""Keras callbacks."""

from iwae_tf.callbacks.diagnostics import Diagnostics
from iwae_tf.callbacks.schedules import BurdaSchedule, WarmUp

__all__ = ["BurdaSchedule", "Diagnostics", "WarmUp"]
