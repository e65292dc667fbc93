"""Search for hyperparameters with KerasTuner, trials compared by the log-likelihood of validation data."""

from iwae_tf.tuning.hypermodel import IWAEHyperModel
from iwae_tf.tuning.search import Search, tune
from iwae_tf.tuning.tuners import OBJECTIVE, TUNERS, make_tuner, trials

__all__ = ["OBJECTIVE", "TUNERS", "IWAEHyperModel", "Search", "make_tuner", "trials", "tune"]
