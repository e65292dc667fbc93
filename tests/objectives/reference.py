"""The objectives in plain NumPy, slowly: their bounds and their coefficients, from the papers' definitions.

The gradient of an objective, in ascent direction, is

    g_theta = sum_i a_i d (log p(x|z_i) + kl_weight log p(z_i)) / d theta
    g_phi   = sum_i b_i (d log w_i / d z_i)(d z_i / d phi) + sum_i c_i d log q(z_i|x) / d phi, z_i held fixed
"""

import itertools
import math
from typing import NamedTuple

import numpy as np

from iwae_tf import objectives


class Reference(NamedTuple):
    bound: np.ndarray  # [batch]
    a: np.ndarray  # [k, batch]
    b: np.ndarray  # [k, batch]
    c: np.ndarray  # [k, batch]


def log_mean_exp(log_weights):
    top = log_weights.max(0)
    return top + np.log(np.mean(np.exp(log_weights - top), 0))


def softmax(log_weights):
    w = np.exp(log_weights - log_weights.max(0))
    return w / w.sum(0)


def reference(objective, log_weights, kl_weight=1.0):
    """Computes what `objective` is to do with log weights `[k, batch]`, the KL in them weighted by `kl_weight`."""
    lw = np.asarray(log_weights, np.float64)
    return REFERENCES[type(objective)](objective, lw, kl_weight)


def of_bound(bound, a, kl_weight):
    return Reference(bound, a, a, -kl_weight * a)


def elbo(objective, lw, kl_weight):
    return of_bound(lw.mean(0), np.full_like(lw, 1 / len(lw)), kl_weight)


def importance_weighted(objective, lw, kl_weight):
    w, bound = softmax(lw), log_mean_exp(lw)
    return {
        "reparameterized": of_bound(bound, w, kl_weight),
        "path": Reference(bound, w, w, 0 * w),
        "doubly_reparameterized": Reference(bound, w, w - kl_weight * (w - w**2), 0 * w),
    }[objective.gradient]


def miwae(objective, lw, kl_weight):
    k = objective.num_samples
    groups = [lw[m * k : (m + 1) * k] for m in range(objective.num_groups)]
    parts = [
        importance_weighted(objectives.ImportanceWeighted(k, objective.gradient), group, kl_weight) for group in groups
    ]
    bound = np.mean([part.bound for part in parts], 0)
    return Reference(
        bound, *(np.concatenate(part) / objective.num_groups for part in list(zip(*parts, strict=True))[1:])
    )


def ciwae(objective, lw, kl_weight):
    beta = objective.beta
    tight = importance_weighted(objectives.ImportanceWeighted(len(lw), objective.gradient), lw, kl_weight)
    loose = elbo(objective, lw, kl_weight)
    if objective.gradient == "doubly_reparameterized":  # of a single sample's bound it is the path
        loose = Reference(loose.bound, loose.a, loose.a, 0 * loose.a)
    return Reference(*(beta * one + (1 - beta) * other for one, other in zip(loose, tight, strict=True)))


def combined(objective, lw, kl_weight):
    if isinstance(objective, objectives.PIWAE):
        m, k = objective.num_groups, objective.num_samples
        pair = objectives.ImportanceWeighted(m * k), objectives.MIWAE(m, k, objective.gradient)
    else:
        pair = objective.generative, objective.inference
    generative, inference = (reference(part, lw, kl_weight) for part in pair)
    return Reference(generative.bound, generative.a, inference.b, inference.c)


def renyi(objective, lw, kl_weight):
    alpha = objective.alpha
    if alpha == 1:
        return elbo(objective, lw, kl_weight)
    if math.isinf(alpha):
        best = (np.argmax if alpha < 0 else np.argmin)(lw, 0)
        return of_bound(np.take_along_axis(lw, best[None], 0)[0], np.eye(len(lw))[best].T, kl_weight)
    return of_bound(log_mean_exp((1 - alpha) * lw) / (1 - alpha), softmax((1 - alpha) * lw), kl_weight)


def wake_sleep(objective, lw, kl_weight):
    w, bound = softmax(lw), log_mean_exp(lw)
    if objective.gradient == "score":
        return Reference(bound, w, 0 * w, w)
    return Reference(bound, w, w - w**2, 0 * w)


def jackknife(objective, lw, kl_weight):
    k, m = len(lw), objective.order
    bound, a = np.zeros(lw.shape[1]), np.zeros_like(lw)
    for j in range(m + 1):
        coefficient = (-1) ** j * (k - j) ** m / (math.factorial(m - j) * math.factorial(j))
        subsets = [list(kept) for kept in itertools.combinations(range(k), k - j)]
        for kept in subsets:
            bound += coefficient / len(subsets) * log_mean_exp(lw[kept])
            a[kept] += coefficient / len(subsets) * softmax(lw[kept])
    return of_bound(bound, a, kl_weight)


def of_advantages(bound, a, advantages, kl_weight):
    return Reference(bound, a, 0 * a, advantages - kl_weight * a)


def vimco(objective, lw, kl_weight):
    advantages = np.empty_like(lw)
    for i in range(len(lw)):
        others, replaced = np.delete(lw, i, 0), lw.copy()
        replaced[i] = others.mean(0) if objective.mean == "geometric" else log_mean_exp(others)
        advantages[i] = log_mean_exp(lw) - log_mean_exp(replaced)
    return of_advantages(log_mean_exp(lw), softmax(lw), advantages, kl_weight)


def ovis(objective, lw, kl_weight):
    """Equation 17 of the paper is the control variate of log Z - w~, so that w~ is part of its coefficient."""
    k, gamma, w = len(lw), objective.gamma, softmax(lw)
    others = np.stack([log_mean_exp(np.delete(lw, i, 0)) for i in range(k)])
    control_variate = others - gamma * w + (1 - gamma) * np.log(1 - 1 / k)
    advantages = log_mean_exp(lw) - w - control_variate + w
    return of_advantages(log_mean_exp(lw), w, advantages, kl_weight)


def reinforce(objective, lw, kl_weight):
    k = len(lw)
    leave_one_out = objective.baseline == "leave-one-out"
    baselines = (lw.sum(0) - lw) / (k - 1) if leave_one_out else 0
    return of_advantages(lw.mean(0), np.full_like(lw, 1 / k), (lw - baselines) / k, kl_weight)


def thermodynamic(objective, lw, kl_weight):
    bound, a, advantages = np.zeros(lw.shape[1]), np.zeros_like(lw), np.zeros_like(lw)
    for low, high in itertools.pairwise(objective.betas):
        w = softmax(low * lw)
        deviations = lw - (w * lw).sum(0)
        bound += (high - low) * (w * lw).sum(0)
        a += (high - low) * w * (1 + low * deviations)
        advantages += (high - low) * w * deviations * len(lw) / (len(lw) - 1)
    return of_advantages(bound, a, advantages, kl_weight)


REFERENCES = {
    objectives.ELBO: elbo,
    objectives.ImportanceWeighted: importance_weighted,
    objectives.MIWAE: miwae,
    objectives.CIWAE: ciwae,
    objectives.PIWAE: combined,
    objectives.Combined: combined,
    objectives.Renyi: renyi,
    objectives.ReweightedWakeSleep: wake_sleep,
    objectives.Jackknife: jackknife,
    objectives.VIMCO: vimco,
    objectives.OVIS: ovis,
    objectives.REINFORCE: reinforce,
    objectives.Thermodynamic: thermodynamic,
}

DOUBLY = "doubly_reparameterized"

#: Six samples for each, so that they fit the same log weights.
CASES = [
    objectives.ELBO(6),
    objectives.ImportanceWeighted(6),
    objectives.ImportanceWeighted(6, "path"),
    objectives.ImportanceWeighted(6, DOUBLY),
    objectives.MIWAE(2, 3),
    objectives.MIWAE(3, 2, DOUBLY),
    objectives.PIWAE(2, 3),
    objectives.PIWAE(3, 2, DOUBLY),
    objectives.CIWAE(6, 0.3),
    objectives.CIWAE(6, 0.3, DOUBLY),
    objectives.Renyi(6, 0.5),
    objectives.Renyi(6, -1.5),
    objectives.Renyi(6, 1.0),
    objectives.Renyi(6, 2.5),
    objectives.Renyi(6, -math.inf),
    objectives.Renyi(6, math.inf),
    objectives.ReweightedWakeSleep(6),
    objectives.ReweightedWakeSleep(6, DOUBLY),
    objectives.Jackknife(6, 1),
    objectives.Jackknife(6, 2),
    objectives.VIMCO(6),
    objectives.VIMCO(6, "arithmetic"),
    objectives.OVIS(6),
    objectives.OVIS(6, gamma=0.7),
    objectives.REINFORCE(6),
    objectives.REINFORCE(6, baseline=None),
    objectives.Thermodynamic(6),
    objectives.Thermodynamic(6, betas=(0, 0.1, 0.5, 1)),
    objectives.Combined(objectives.ELBO(6), objectives.ReweightedWakeSleep(6)),
    objectives.Combined(objectives.ImportanceWeighted(6), objectives.VIMCO(6)),
    objectives.Combined(objectives.Jackknife(6, 1), objectives.ImportanceWeighted(6, "path")),
]
