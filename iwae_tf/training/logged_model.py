"""A Keras model that logs what its log weights and its reconstructions say of a batch."""

from typing import Any, ClassVar

import keras
import tensorflow as tf

from iwae_tf import random
from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.hierarchy import Terms
from iwae_tf.metrics import LogWeightMean
from iwae_tf.training import executions
from iwae_tf.training.batches import Metrics
from iwae_tf.training.executions import Logs

#: What every model logs, and what models of sequences log too.
LOGS = ("loss", "elbo", "reconstruction", "kl", "effective_sample_size")
OVER_TIME = ("loss_per_step", "resampled")


def split_metrics(metrics: list[Any]) -> tuple[list[Any], list[LogWeightMean]]:
    """Separates the metrics that compare x with its reconstruction from those of the log weights.

    Raises:
      ValueError: if a metric has the name of another log.
    """
    for metric in metrics:
        name = metric if isinstance(metric, str) else getattr(metric, "name", getattr(metric, "__name__", ""))
        if name in (*LOGS, *OVER_TIME):
            raise ValueError(
                f"metrics must have names other than {', '.join((*LOGS, *OVER_TIME))}. Received: {metric!r}"
            )
    of_log_weights = [metric for metric in metrics if isinstance(metric, LogWeightMean)]
    return [metric for metric in metrics if not isinstance(metric, LogWeightMean)], of_log_weights


class LoggedModel(ObservationModel):
    """Base of the models that log the metrics of their log weights, and those of x and its reconstruction.

    A subclass gives the networks: `posterior`, `terms`, `reconstruction` and `state`.

    Attributes:
      trackers: the metrics of the log weights that `fit` and `evaluate` log: `logs`, then the `LogWeightMean`s.
      logs: names of the metrics that every model of the class logs.
    """

    logs: ClassVar[tuple[str, ...]] = LOGS

    def posterior(self, x: tf.Tensor) -> Any:
        """Returns the part of q(z|x) that depends on x alone, which `terms` reads."""
        raise NotImplementedError

    def terms(
        self, x: tf.Tensor, posterior: Any, num_samples: int, seed: tf.Tensor, analytic_kl: bool = False
    ) -> Terms:
        """Samples z ~ q(z|x), `num_samples` for each observation, and scores it."""
        raise NotImplementedError

    def reconstruction(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the mean of p(x|z) for one draw z ~ q(z|x) each, `[batch, *event_shape]`."""
        raise NotImplementedError

    def state(self) -> list[Any]:
        """Returns the variables that a call of the networks changes, such as moving averages."""
        raise NotImplementedError

    def _make_trackers(self) -> None:
        """Makes the metrics, once the networks exist."""
        self.trackers = [keras.metrics.Mean(name=name) for name in self.logs]

    def _set_trackers(self, of_log_weights: list[LogWeightMean]) -> None:
        """Tracks these metrics beside `logs`, instead of those of an earlier `compile`."""
        self._tracker.unlock()
        for tracker in self.trackers[len(self.logs) :]:
            self.trackers.remove(tracker)
        self.trackers.extend(of_log_weights)
        self._compile_metrics = None  # Keras would keep an earlier one too.

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds the metrics of x and its reconstruction.

        Keras would also run the model, under a strategy by a mean over replicas, which uint8 does not have.
        """
        if self._compile_metrics is not None and not self._compile_metrics.built:
            x = tf.zeros([1, *self.smallest_shape], self.dtype_policy.variable_dtype)
            self._compile_metrics.build(x, x)

    @property
    def is_distributed(self) -> bool:
        """Whether the model was made under a strategy of `tf.distribute`."""
        return bool(self._distribute_strategy)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        metrics = keras.layers.Layer.metrics.fget(self)  # a model's own property would add another loss
        return metrics if self._compile_metrics is None else [*metrics, self._compile_metrics]

    def _compare(self, data: Any) -> Logs:
        """Updates the metrics of x and its reconstruction, if there are any, and returns all logs."""
        if self._compile_metrics is None:
            return self.get_metrics_result()
        self._maybe_symbolic_build()
        x, sample_weight = executions.unpack(self, data)
        # Derived from the model's next seed, which it leaves to the next step: metrics do not change the training.
        seed = random.fold_in(tf.cast(tf.convert_to_tensor(self.seed_generator.state), tf.int32), -1)
        with self.phase(training=False):
            x = self.preprocess(x, seed)
            reconstruction = self.reconstruction(x, random.fold_in(seed, 1))
        return self.compute_metrics(x, x, reconstruction, sample_weight)

    def _track(self, metrics: Metrics, data: Any) -> None:
        _, sample_weight = executions.unpack(self, data)
        for tracker in self.trackers:
            if tracker.name in metrics:
                tracker.update_state(metrics[tracker.name], sample_weight=sample_weight)
