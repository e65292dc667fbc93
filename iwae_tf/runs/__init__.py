"""Runs: folders with a trained model and all its results."""

from iwae_tf.runs.building import build
from iwae_tf.runs.comparison import average_seeds, compare
from iwae_tf.runs.config import Config
from iwae_tf.runs.evaluation import evaluate, load_model
from iwae_tf.runs.imputation import impute
from iwae_tf.runs.reporting import report
from iwae_tf.runs.training import fit, schedules, train

__all__ = [
    "Config",
    "average_seeds",
    "build",
    "compare",
    "evaluate",
    "fit",
    "impute",
    "load_model",
    "report",
    "schedules",
    "train",
]
