"""The thermodynamic variational objective."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from iwae_tf.checks import check_backward_samples, check_count
from iwae_tf.objectives.base import Objective
from iwae_tf.options import BackwardSamples


@keras.saving.register_keras_serializable(package="iwae_tf")
class Thermodynamic(Objective):
    """The thermodynamic variational objective (TVO): a sum over a path from q(z|x) to p(z|x).

    log p(x) is the integral over beta from 0 to 1 of E_beta log w, the mean under the density proportional to q w^beta.
    The mean rises with beta, so that the left Riemann sum

        sum_j (beta_{j+1} - beta_j) E_{beta_j} log w

    is a lower bound; with `betas=(0, 1)` it is the ELBO, and more betas take it closer to log p(x). One set of samples
    from q gives all expectations, with the normalised weights w^beta. The gradient of an expectation is the expected
    gradient plus the covariance of log w with the score of its density; q need not be reparameterisable.

    The expectations are unbiased for beta = 0 and otherwise approach their values as k grows. So do the gradients.

    Args:
      num_samples: k, samples per observation, 2 or more.
      betas: ascending numbers from 0 to 1. The default is good for k from 10 to 30; the paper's best middle number is
        about 0.05 for fewer samples and 0.3 for more.
      backward_samples: number of samples to differentiate; see `ImportanceWeighted`.

    Raises:
      ValueError: if `num_samples` is not an integer of 2 or more, or `betas` do not ascend from 0 to 1.

    References:
      Masrani, Le & Wood 2019, The Thermodynamic Variational Objective, arXiv:1907.00031.

    Example:
      ```python
      objective = objectives.Thermodynamic(10, betas=(0, 0.1, 0.3, 1))
      objective.bound(model.log_weights(x, 10)).shape  # [20]
      ```
    """

    def __init__(
        self, num_samples: int, betas: Sequence[float] = (0.0, 0.2, 1.0), backward_samples: BackwardSamples = None
    ) -> None:
        self.num_samples = self.num_particles = check_count(num_samples, "num_samples", minimum=2)
        self.betas = tuple(float(beta) for beta in betas)
        ascend = all(low < high for low, high in zip(self.betas, self.betas[1:], strict=False))
        if len(self.betas) < 2 or (self.betas[0], self.betas[-1]) != (0.0, 1.0) or not ascend:
            raise ValueError(f"Expected betas to ascend from 0 to 1. Received: betas={betas!r}")
        self.backward_samples = check_backward_samples(backward_samples, self.num_particles)

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        weights, steps = self._heat(log_weights)
        return tf.tensordot(steps, tf.reduce_sum(weights * log_weights, axis=1), 1)

    def advantages(self, log_weights: tf.Tensor) -> tf.Tensor:
        # The score of q enters log (q w^beta) with 1 - beta; the bound, differentiated with z fixed, has the -beta.
        weights, steps = self._heat(log_weights)
        deviations = log_weights - tf.reduce_sum(weights * log_weights, axis=1, keepdims=True)
        covariances = self.num_samples / (self.num_samples - 1) * weights * deviations
        return tf.tensordot(steps, covariances, 1)

    def _heat(self, log_weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the normalised w^beta of all betas but the last, `[betas, k, batch]`, and the steps between betas."""
        betas = tf.constant(self.betas, log_weights.dtype)
        return tf.nn.softmax(betas[:-1, tf.newaxis, tf.newaxis] * log_weights, axis=1), betas[1:] - betas[:-1]
