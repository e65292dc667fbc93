"""The base class of objectives: log weights in, a bound out."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from iwae_tf.options import BackwardSamples

#: With fewer samples a resampled step is not faster than the full one.
FEWEST_TO_RESAMPLE = 20


class Objective:
    """Base class of objectives, which know log weights and nothing of layers or models.

    A subclass defines `bound`, and a constructor that sets `num_particles` and keeps each of its arguments as an
    attribute of the same name; saving, `==` and `repr` read them there. Keras loads a saved model if the class is
    decorated with `keras.saving.register_keras_serializable`; `register` gives it a name for the command line.

    The generative network follows the gradient of `bound`. So does the inference network, unless one of the attributes
    below says otherwise; they are plain data, which `iwae_tf.training.gradients` reads.

    The bound belongs to the objective and its own number of samples. Not to be confused with the log-likelihood, which
    estimates log p(x) by L_k with a large k, whatever the objective: see `IWAE.log_likelihood`.

    Attributes:
      num_particles: samples drawn per observation.
      kl_weight: factor of log q(z|x) - log p(z) inside log w.
      analytic_kl: whether the expectation of the top layer's log q - log p replaces its value at the sample.
      free_bits: KL, in nats and averaged over the batch, that each stochastic layer may have at no cost.
      inference: the objective of the inference network, if it is another one.
      path_weights: a function from log weights `[num_particles, batch]`, and the weight of the KL inside them, to
        factors of the same shape. The bound is then differentiated with the parameters of log q(z|x) held fixed, and
        the gradient for z of sample i is multiplied by factor i before it goes on to the inference network.
      score_weights: a function from log weights to coefficients c of the same shape. The inference network then
        follows sum_i c_i d log q(z_i|x) with z_i held fixed, which needs no reparameterisable q.
      advantages: a function from log weights to factors of the same shape. The bound is then differentiated with z_i
        held fixed, and the inference network follows sum_i factor_i d log q(z_i|x) as well: the gradient of E bound by
        the score of q, where factor_i is the bound less anything that does not depend on z_i. It needs no
        reparameterisable q.
      learns_baseline: whether a network of the model, `IWAE(baseline=)`, predicts the log weights, and `advantages`
        reads how far they are from the prediction.
      sleep: weight of the sleep phase, in [0, 1]: the part of the inference network's gradient that is
        d log q(z|x) for x and z drawn from the generative model.
      backward_samples: m, the number of samples that are differentiated, chosen by `resampling.resample` so that the
        gradient keeps its mean; all samples are scored. `"auto"` is max(8, k // 10), or k below 20; `None` is k.
      fewest_backward: the smallest m that `"auto"` chooses.
      draws_apart: whether the inference network has samples of its own.
      filters: whether samples are resampled while they are drawn, which takes a model of sequences.

    Example:
      ```python
      @keras.saving.register_keras_serializable(package="my_project")
      class Median(objectives.Objective):
          def __init__(self, num_samples):
              self.num_samples = self.num_particles = num_samples

          def bound(self, log_weights):
              return tf.sort(log_weights, axis=0)[self.num_samples // 2]

      Median(5).bound(model.log_weights(x, 5)).shape  # [20]
      ```
    """

    num_particles: int
    kl_weight: float = 1.0
    analytic_kl: bool = False
    free_bits: float = 0.0
    inference: "Objective | None" = None
    path_weights: Callable[..., tf.Tensor] | None = None
    score_weights: Callable[[tf.Tensor], tf.Tensor] | None = None
    advantages: Callable[[tf.Tensor], tf.Tensor] | None = None
    learns_baseline: bool = False
    sleep: float = 0.0
    backward_samples: BackwardSamples = None
    fewest_backward: int = 8
    draws_apart: bool = False
    filters: bool = False

    @property
    def num_backward(self) -> int:
        """Number of samples that are differentiated."""
        k = self.num_particles
        if self.backward_samples is None or (self.backward_samples == "auto" and k < FEWEST_TO_RESAMPLE):
            return k
        return min(max(self.fewest_backward, k // 10), k) if self.backward_samples == "auto" else self.backward_samples

    @property
    def follows_scores(self) -> bool:
        """Whether the gradient for the inference network needs its score alone, so that q may be any distribution."""
        return bool(self.score_weights or self.advantages)

    def check_resampling(self) -> None:
        """Raises a `ValueError` if some samples are to stand for all, and free bits or a baseline depend on all."""
        for part in (self, self.inference) if self.backward_samples is not None else ():
            if part and (part.free_bits or part.learns_baseline):
                kind = "free_bits" if part.free_bits else "a learned baseline"
                raise ValueError(f"Expected objectives without {kind} with backward_samples. Received: {self!r}")

    def bound(self, log_weights: tf.Tensor) -> tf.Tensor:
        """Computes the reported bound, in nats: `[num_particles, batch]` -> `[batch]`."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        return {name: keras.saving.serialize_keras_object(value) for name, value in self._arguments().items()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Objective":
        return cls(**{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()})

    def _arguments(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, read from the attributes of the same names."""
        name = type(self).__name__
        parameters = inspect.signature(type(self)).parameters
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()):
            expected = f"Expected the constructor of {name} to name its arguments, which are read from attributes."
            raise TypeError(f"{expected} Received: {name}{inspect.signature(type(self))}")
        missing = [argument for argument in parameters if not hasattr(self, argument)]
        if missing:
            expected = f"Expected {name} to keep the arguments of its constructor as attributes of the same names."
            raise AttributeError(f"{expected} Received: no attribute {', '.join(missing)}")
        return {argument: getattr(self, argument) for argument in parameters}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and type(self) is type(other) and self._arguments() == other._arguments()

    def __hash__(self) -> int:
        return hash((type(self), tuple(self._arguments().items())))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._arguments().items())})"
