"""Log probabilities of counts that keep their digits at any mean, in the saddle-point form of Loader (2000).

The textbook form of a Poisson log probability, x log r - r - lgamma(x + 1), is a difference of numbers as large as
x log x: at a rate of 1e8 it is off by 100 nats in float32. The saddle-point form has two parts, and nothing cancels in
either: log p(x) at mean x, by Stirling's series, minus half the deviance, a function of log(x / mean).

References:
  Loader 2000, Fast and Accurate Computation of Binomial Probabilities.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability.python.internal import prefer_static as ps

_LOG_TAU = math.log(2.0 * math.pi)
_MAX_EXPONENT = 80.0  # exp overflows in float32 a little above.


def poisson_log_prob(x: tf.Tensor, log_rate: tf.Tensor) -> tf.Tensor:
    """Computes the log probability of Poisson counts, nats.

    In float32 the error is about 1e-6 of the value, and 1e-5 nats near the mode, at any rate.

    Args:
      x: counts, in the dtype of `log_rate` and of a shape that broadcasts with `log_rate`.
      log_rate: logarithm of the rate.
    """
    t = _log_ratio(x, log_rate)
    half_deviance = tf.where(x > 0, x * _psi(t), tf.exp(-t))
    return _log_mode(x, 0.5 * _LOG_TAU + 0.5 * tf.math.log(_positive(x)) + _stirling(_positive(x))) - half_deviance


def negative_binomial_log_prob(x: tf.Tensor, log_mean: tf.Tensor, log_dispersion: tf.Tensor) -> tf.Tensor:
    """Computes the log probability of negative binomial counts of variance mean + dispersion mean^2, nats.

    The error is as in `poisson_log_prob`, but up to 3e-5 nats near the mode. The gamma functions depend on `x` and the
    dispersion alone: if neither has an axis of samples, they are computed once for all samples.

    Args:
      x: counts, in the dtype of the parameters and of a shape that broadcasts with the parameters.
      log_mean: logarithm of the mean.
      log_dispersion: logarithm of the dispersion.
    """
    positive, shape = _positive(x), tf.exp(-log_dispersion)
    excess = _stirling(positive) + _stirling(shape) - _stirling(positive + shape)
    at_mean = 0.5 * (_LOG_TAU + tf.math.log(positive) + tf.math.log1p(positive / shape)) + excess
    return _log_mode(x, at_mean) - _half_deviance(x, _log_ratio(x, log_mean), log_dispersion)


def _positive(x: tf.Tensor) -> tf.Tensor:
    """Returns the counts with 1 in place of 0, so that their logarithms have a gradient."""
    return tf.where(x > 0, x, tf.ones_like(x))


def _log_mode(x: tf.Tensor, minus_log_prob: tf.Tensor) -> tf.Tensor:
    """Returns the log probability at mean x: 0 for x = 0, and -inf for x < 0, which is not a count."""
    return tf.where(x > 0, -minus_log_prob, tf.where(x < 0, tf.constant(-np.inf, x.dtype), tf.zeros_like(x)))


def _stirling(y: tf.Tensor) -> tf.Tensor:
    """Computes the error of Stirling's formula, lgamma(y) - (y - 1/2) log y + y - log(2 pi) / 2, for y > 0."""
    small = tf.minimum(y, 8.0)
    exact = tf.math.lgamma(small) - (small - 0.5) * tf.math.log(small) + small - 0.5 * _LOG_TAU
    return tf.where(y < 8.0, exact, tfp.math.log_gamma_correction(tf.maximum(y, 8.0)))


def _log_ratio(x: tf.Tensor, log_mean: tf.Tensor) -> tf.Tensor:
    """Computes log(x / mean) to full relative precision, even where it is small; -log mean for x = 0."""
    positive = _positive(x)
    high = tf.math.log(positive)
    # The digits of log x that its dtype cannot hold. Only the data need float64, not the samples.
    low = tf.math.log(tf.cast(positive, tf.float64)) - tf.cast(high, tf.float64)
    return (high - log_mean) + tf.cast(low, x.dtype)


def _is_near(t: tf.Tensor) -> tf.Tensor:
    """Returns whether `_series` is more precise than a difference of numbers as large as `t`."""
    return tf.abs(t) < (10080.0 * np.finfo(t.dtype.as_numpy_dtype).eps) ** (1.0 / 6.0)


def _series(t: tf.Tensor) -> tf.Tensor:
    """Computes t + expm1(-t) for small `t`: t^2/2! - t^3/3! + ... - t^7/7!."""
    total = tf.zeros_like(t)
    for n in range(7, 1, -1):
        total = (-1.0) ** n / math.factorial(n) + total * t
    return total * t**2


@tf.custom_gradient
def _psi(t: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Computes t + expm1(-t), at least 0, to full relative precision."""
    value = tf.where(_is_near(t), _series(t), t + (tf.exp(-t) - 1.0))
    return value, lambda upstream: upstream * (t - value)  # t - value is 1 - exp(-t)


def _half_deviance(x: tf.Tensor, t: tf.Tensor, log_dispersion: tf.Tensor) -> tf.Tensor:
    """Computes log p(x) at mean x minus log p(x) at mean x exp(-t), or at mean exp(-t) if x = 0."""
    shape = ps.broadcast_shape(ps.shape(x), ps.broadcast_shape(ps.shape(t), ps.shape(log_dispersion)))
    return _broadcast_half_deviance(*(tf.broadcast_to(v, shape) for v in (x, t, log_dispersion)))


@tf.custom_gradient
def _broadcast_half_deviance(
    x: tf.Tensor, t: tf.Tensor, log_dispersion: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
    """Computes `_half_deviance` of tensors of one shape.

    With r = 1 / dispersion, mean m and u = log((r + m) / (r + x)) it is x t + (x + r) u. The value does not change if x
    and r change places and t and u become -t and u + t. Nothing cancels if the smaller of x and r takes the place of x.
    """
    shape = tf.exp(-log_dispersion)
    swapped, positive = x > shape, x > 0
    small, large = tf.minimum(x, shape), tf.maximum(x, shape)
    t = tf.where(swapped, -t, t)
    exponent = tf.where(positive, -t, log_dispersion - t)
    limited = tf.minimum(exponent, _MAX_EXPONENT)
    exp = tf.exp(limited)
    near = _is_near(t) & positive
    ratio = tf.where(positive, small / (small + large) * tf.where(near, _series(t) - t, exp - 1.0), exp)
    u = tf.math.log1p(ratio) + (exponent - limited)
    difference = small * _series(t) - (small + large) * _series(-u)
    value = tf.where(near, difference, small * t + (small + large) * u)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        by_t = -large * ratio / (1.0 + ratio)
        by_x, by_shape = _psi(tf.where(swapped, u, u + t)), _psi(tf.where(swapped, u + t, u))
        return upstream * by_x, upstream * tf.where(swapped, -by_t, by_t), -upstream * shape * by_shape

    return value, gradient
