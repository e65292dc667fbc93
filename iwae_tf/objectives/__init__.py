"""Objectives: bounds over log weights, and the form of their gradients."""

from iwae_tf.objectives.base import Objective
from iwae_tf.objectives.ciwae import CIWAE
from iwae_tf.objectives.combined import PIWAE, Combined
from iwae_tf.objectives.elbo import ELBO
from iwae_tf.objectives.filtering import Filtering
from iwae_tf.objectives.importance_weighted import ImportanceWeighted
from iwae_tf.objectives.jackknife import Jackknife
from iwae_tf.objectives.miwae import MIWAE
from iwae_tf.objectives.registry import NAMES, get, register, takes_beta
from iwae_tf.objectives.renyi import Renyi
from iwae_tf.objectives.score_function import OVIS, REINFORCE, VIMCO
from iwae_tf.objectives.thermodynamic import Thermodynamic
from iwae_tf.objectives.wake_sleep import ReweightedWakeSleep

__all__ = [
    "CIWAE",
    "ELBO",
    "MIWAE",
    "NAMES",
    "OVIS",
    "PIWAE",
    "REINFORCE",
    "VIMCO",
    "Combined",
    "Filtering",
    "ImportanceWeighted",
    "Jackknife",
    "Objective",
    "Renyi",
    "ReweightedWakeSleep",
    "Thermodynamic",
    "get",
    "register",
    "takes_beta",
]
