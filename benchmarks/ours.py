"""iwae_tf as a contender: through `fit`, and the same steps as one bare program."""

import functools

import keras
import tensorflow as tf

import iwae_tf
from benchmarks.cases import hidden_sizes, latent_sizes
from iwae_tf import data, layers, objectives

GROUP = 100  # batches that lie on the device for the bare loop


class Fit:
    """Training by `model.fit` and scoring by `model.log_likelihood`, as a user writes them.

    Args:
      images: grey values, uint8 `[n, 784]`, binarised anew at every step.
      num_samples: k, of the default objective.
      batch_size: observations per step.
      num_layers: stochastic layers.
      objective: an expression such as "ImportanceWeighted(50, gradient='path')", in the names of `objectives`.
      precision: a Keras dtype policy.
      steps_per_execution: as for `compile`.
      seed: integer seed of the weights, the order of the data and all draws.
      **kwargs: further arguments of `iwae_tf.mlp`, such as `posterior="iaf"`.
    """

    def __init__(
        self, images, num_samples, batch_size, num_layers, objective=None, precision="float32",
        steps_per_execution="auto", seed=0, **kwargs,
    ):  # fmt: skip
        keras.config.set_dtype_policy(precision)
        self.device = "gpu" if tf.config.list_physical_devices("GPU") else "cpu"
        self.model = iwae_tf.mlp(
            (28, 28, 1),
            latent_sizes(num_layers),
            hidden_sizes(num_layers),
            objective=eval(objective or f"ImportanceWeighted({num_samples})", vars(objectives).copy()),
            preprocessing=layers.StochasticBinarization(),
            seed=seed,
            **kwargs,
        )
        self.model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-4), steps_per_execution=steps_per_execution)
        self.images = images.reshape(-1, 28, 28, 1)
        self.batch_size, self.seed = batch_size, seed

    @functools.lru_cache(1)  # noqa: B019
    def _data(self, num_steps):
        return data.batches(self.images[: num_steps * self.batch_size], self.batch_size, seed=self.seed)

    def train(self, num_steps):
        """Runs `fit` with its metrics and callbacks on data of so many steps; returns its mean loss."""
        return self.model.fit(self._data(num_steps), verbose=0).history["loss"][-1]

    def log_likelihood(self, x, num_samples):
        """Scores binary images `[m, 784]`, `[m]`."""
        return self.model.log_likelihood(x.reshape(-1, 28, 28, 1), num_samples).numpy()


class RawLoop(Fit):
    """The steps that `fit` runs, called straight as one program on data that are on the device already."""

    def __init__(self, images, num_samples, batch_size, num_layers):
        super().__init__(images, num_samples, batch_size, num_layers)
        self.model.optimizer.build(self.model.trainable_variables)
        self._x = tf.constant(self.images[: GROUP * batch_size].reshape(GROUP, batch_size, 28, 28, 1))
        self._program = raw_loop(self.model)

    def train(self, num_steps):
        """Runs the steps, no more at once than batches are there; returns the mean loss."""
        self.model.reset_metrics()
        for start in range(0, num_steps, GROUP):
            logs = self._program(self._x, tf.constant(min(GROUP, num_steps - start)))
        return logs["loss"].numpy()


def raw_loop(model):
    """Makes the bare loop, a function of stacked batches and the number of those to use: all there is beside `fit`."""

    def loop(x, count):
        def body(i):
            model.train_step((x[i],))
            return (i + 1,)

        tf.while_loop(lambda i: i < count, body, (tf.constant(0),), parallel_iterations=1)
        return model.get_metrics_result()

    return tf.function(loop, autograph=False, jit_compile=True)
