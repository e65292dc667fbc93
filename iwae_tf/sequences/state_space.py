"""State-space models and their recurrent relatives as Keras models."""

import math
from typing import Any

import keras
import numpy.typing as npt
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.data.observation_model import in_phase
from iwae_tf.data.sequences import pad
from iwae_tf.hierarchy import Terms
from iwae_tf.hierarchy.bottom_up import build_layer, call_layer
from iwae_tf.layers.axes import merge_leading_axes
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.missing import ignore_missing
from iwae_tf.layers.normal import Normal, as_normal
from iwae_tf.objectives import Filtering, Objective
from iwae_tf.sequences import particles, use
from iwae_tf.sequences.particles import Pass, Steps
from iwae_tf.training.logged_model import LOGS, OVER_TIME
from iwae_tf.training.multi_sample_model import MultiSampleModel
from iwae_tf.types import Seed


@keras.saving.register_keras_serializable(package="iwae_tf")
class StateSpaceModel(MultiSampleModel):
    """A model of sequences, trained by a multi-sample bound.

    The generative network is p(z_1) p(x_1|z_1) prod_t p(z_t|z_{t-1}) p(x_t|z_t), and q(z_t|x_t, z_{t-1}) proposes z_t.
    With a `cell` the networks read its output h_t in place of z_{t-1}, where h_t = cell(x_{t-1}, z_{t-1}, h_{t-1}), and
    the emission reads it too: a variational recurrent network. Then h_1 comes from zeros and `initial` is not used.

    Sequences are float arrays `[batch, time, *event]`. A step of NaN is missing: at the end it is padding, which
    changes nothing; `lengths` of the methods and `data.pad` say the same. `fit`, `evaluate`, callbacks, saving and the
    objectives are those of `IWAE`; the log weights of all objectives are summed over time.

    Args:
      transition: layer that returns p(z_t|z_{t-1}), or p(z_t|h_t) with a cell, for latent variables of one axis.
      emission: layer that returns p(x_t|z_t); with a cell it reads z_t and h_t, concatenated.
      proposal: layer that returns q(z_t|.) of the features of x_t and z_{t-1} (or h_t), concatenated. `None` proposes
        from p(z_t|.), the bootstrap filter.
      initial: layer that returns p(z_1) when called without an input, such as `layers.StandardNormal`.
      cell: a recurrent cell of Keras, such as `keras.layers.LSTMCell(32)`.
      features: layer from x_t to what proposal and cell read. `None` is x_t itself, flattened.
      residual: whether the mean of q is the mean of p(z_t|.) plus the loc of the proposal; both must be diagonal
        Gaussians.
      objective: an `iwae_tf.objectives.Objective`. Default: `Filtering(4)`.
      preprocessing: layer from raw data to x as the likelihood sees it, of the same shape.
      seed: integer seed of the initial weights, of all draws, and of the order of array data in `fit`.
      incomplete: whether steps, or entries of them, may be missing within a sequence. Missing steps are predicted; the
        density leaves out missing entries, and the networks see 0 in their place.
      **kwargs: as for any `keras.Model`.

    Raises:
      ValueError: if there is neither a cell nor an initial layer, or latent variables have several axes.
      TypeError: if a network is not a Keras layer.

    References:
      Maddison et al. 2017, arXiv:1705.09279; Chung et al. 2015, A Recurrent Latent Variable Model for Sequential Data,
      arXiv:1506.02216.

    Example:
      ```python
      model = iwae_tf.sequences.StateSpaceModel(
          transition=layers.IndependentNormal(4, hidden=(16,)),
          emission=layers.IndependentBernoulli(6, hidden=(16,)),
          proposal=layers.IndependentNormal(4, hidden=(16,)),
          initial=layers.StandardNormal(4),
          objective=objectives.Filtering(8),
      )
      model.compile("adam")
      model.fit(np.zeros([20, 10, 6]), verbose=0)
      model.log_likelihood(np.zeros([3, 12, 6]), num_samples=32).shape  # [3]
      ```
    """

    logs = (*LOGS, *OVER_TIME)
    is_sequential = True

    def __init__(
        self,
        transition: keras.layers.Layer,
        emission: keras.layers.Layer,
        proposal: keras.layers.Layer | None = None,
        initial: keras.layers.Layer | None = None,
        cell: keras.layers.Layer | None = None,
        features: keras.layers.Layer | None = None,
        residual: bool = False,
        objective: Objective | None = None,
        preprocessing: keras.layers.Layer | None = None,
        seed: int | None = None,
        incomplete: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(preprocessing=preprocessing, seed=seed, incomplete=incomplete, **kwargs)
        self.transition, self.emission, self.proposal, self.initial = transition, emission, proposal, initial
        self.cell, self.features, self.residual = cell, features, residual
        # The bootstrap filter's q is a part of p, so both must follow one bound, as with a ladder.
        self.encoder, self.ladder = [proposal or transition], proposal is None
        if cell is None and initial is None:
            raise ValueError("Expected an initial layer, which returns p(z_1), or a cell. Received: neither")
        self._adopt(self._networks(), "Expected Keras layers as networks.")
        self._set_objective(Filtering(4) if objective is None else objective)
        if isinstance(emission, StochasticLayer):
            self.build((None, None, *emission.event_shape))
            self._tracker.unlock()  # for the metrics that a subclass makes in its own constructor

    @property
    def event_shape(self) -> tuple[Any, ...]:
        return (None, *self._step_shape)

    @property
    def observation_layer(self) -> keras.layers.Layer:
        return self.emission

    @property
    def allows_missing(self) -> bool:
        return True  # Padding is NaN.

    @property
    def reads_missing(self) -> bool:
        return True

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of z_t."""
        return self._latent_shape

    @property
    def latent_shapes(self) -> list[tuple[int, ...]]:
        return [self._latent_shape]

    @property
    def network_variables(self) -> list[Any]:
        """The variables of all networks."""
        return list({id(v): v for layer in self._networks() for v in layer.variables}.values())

    def _networks(self) -> list[keras.layers.Layer]:
        parts = (self.features, self.initial, self.transition, self.emission, self.proposal, self.cell)
        return [part for part in parts if part is not None]

    def state(self) -> list[Any]:
        parts = {id(part): part for layer in self._networks() for part in layer._flatten_layers()}
        return [
            variable
            for part in parts.values()
            for variable in (*part._non_trainable_variables, *(seed.state for seed in part._seed_generators))
        ]

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Makes all weights for sequences `[batch, time, *event]`."""
        with tf.init_scope():
            self._step_shape = tuple(input_shape[2:])
            size = math.prod(self._step_shape)
            if self.features is not None:
                if not self.features.built:
                    self.features.build((None, *self._step_shape))
                size = math.prod(self.features(tf.zeros([1, *self._step_shape])).shape[1:])
            self.feature_size = size
            if self.cell is None:
                assert self.initial is not None
                self._latent_shape = tuple(self.initial().event_shape)
                context = self._latent_shape
                build_layer(self.transition, context)
            else:
                context = (int(self.cell.output_size),)
                self._latent_shape = build_layer(self.transition, context)
                if not self.cell.built:
                    self.cell.build((None, size + self._latent_shape[0]))
            if len(self._latent_shape) != 1:
                raise ValueError(f"Expected latent variables of one axis. Received: shape {self._latent_shape}")
            if self.proposal is not None:
                build_layer(self.proposal, (size + context[0],))
            read = self._latent_shape[0] + (0 if self.cell is None else context[0])
            build_layer(self.emission, (read,))
        self.built = True

    # ------------------------------------------------------------------------------------------ one step

    def compute_features(self, x: tf.Tensor) -> tf.Tensor:
        """Returns what proposal and cell read of steps, `[..., *event]` -> `[..., features]`."""
        flat, leading = merge_leading_axes(x, len(self._step_shape))
        features = flat if self.features is None else self.features(flat)
        return tf.reshape(features, [*leading, self.feature_size])

    def start_cell(self, k: int, batch: tf.Tensor) -> list[tf.Tensor]:
        """Returns the states of the cell before the first step, each `[k, batch, units]`."""
        if self.cell is None:
            return []
        sizes = keras.tree.flatten(self.cell.state_size)
        return [tf.zeros([k, batch, size], self.dtype_policy.variable_dtype) for size in sizes]

    def advance_cell(
        self, earlier: tf.Tensor, z: tf.Tensor, cell: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Returns the new states of the cell, and what the networks read: its output, or z without a cell."""
        if self.cell is None:
            return [], z
        flat, leading = merge_leading_axes(_join(earlier, z), 1)
        states = [tf.reshape(state, [-1, state.shape[-1]]) for state in cell]
        output, states = self.cell(flat, states if len(states) > 1 else states[0])
        restored = [tf.reshape(value, [*leading, value.shape[-1]]) for value in (output, *keras.tree.flatten(states))]
        return restored[1:], restored[0]

    def get_transition(self, context: tf.Tensor, first: bool) -> tfd.Distribution:
        """Returns p(z_t|.); `first` says whether this is the first step."""
        if first and self.cell is None:
            assert self.initial is not None
            p = self.initial()
            return tfd.BatchBroadcast(p, tf.shape(context)[:-1])
        return call_layer(self.transition, context, 1)

    def get_proposal(
        self, features: tf.Tensor, context: tf.Tensor, p: tfd.Distribution, stop_weight_gradients: bool = False
    ) -> tfd.Distribution:
        """Returns q(z_t|x_t, .)."""
        if self.proposal is None:
            return p
        q = call_layer(self.proposal, _join(features, context), 1, stop_weight_gradients)
        if not self.residual:
            return q
        q, p = as_normal(q), as_normal(p.distribution if isinstance(p, tfd.BatchBroadcast) else p)
        return tfd.Independent(Normal(p.loc + q.loc, q.scale), 1)

    def get_emission(self, z: tf.Tensor, context: tf.Tensor) -> tfd.Distribution:
        """Returns p(x_t|z_t, .)."""
        emission = call_layer(self.emission, z if self.cell is None else tf.concat([z, context], -1), 1)
        return ignore_missing(emission) if self.incomplete else emission

    # ------------------------------------------------------------------------------------------ sequences

    @in_phase
    def posterior(self, x: tf.Tensor, stop_weight_gradients: bool = False) -> Steps:
        """Returns the sequences step by step, with all that depends on x alone."""
        missing = tf.math.is_nan(x)
        filled = tf.where(missing, tf.zeros_like(x), x)
        axes = list(range(2, x.shape.rank))
        present = tf.reduce_any(~missing, axis=axes)
        steps = tf.range(1, tf.shape(x)[1] + 1)
        lengths = tf.reduce_max(tf.where(present, steps, 0), axis=1)
        features = tf.transpose(self.compute_features(filled), [1, 0, 2])
        earlier = tf.concat([tf.zeros_like(features[:1]), features[:-1]], axis=0)
        by_step = tf.transpose(x if self.incomplete else filled, [1, 0, *axes])
        return Steps(by_step, features, earlier, tf.transpose(present), lengths)

    @in_phase
    def infer(
        self,
        posterior: Steps,
        num_samples: int,
        seed: tf.Tensor,
        filtering: Filtering | None = None,
        keep_gradients: bool = True,
    ) -> tuple[list[Pass], list[tf.Tensor]]:
        """Draws z_1, ..., z_T ~ q(z|x), and resamples them on the way if `filtering` says so.

        The z have gradients if `keep_gradients` says so and no filter runs; those of their scores do not need them.
        """
        result = self._run(posterior, num_samples, seed, filtering, keep_gradients=keep_gradients)
        assert result.record is not None
        return [result], [tf.transpose(result.record.z, [1, 2, 0, 3])]

    @in_phase
    def _run(self, steps: Steps, num_samples: int, seed: tf.Tensor, filtering: Filtering | None, **keep: bool) -> Pass:
        kl_weight = self.kl_weight if filtering is None else self.kl_weight * filtering.kl_weight
        return particles.run(self, steps, num_samples, seed, filtering, kl_weight, **keep)

    @in_phase
    def posteriors(self, x: tf.Tensor, z: list[tf.Tensor], stop_weight_gradients: bool = False) -> list[Pass]:
        """Scores given z."""
        given = tf.transpose(z[0], [2, 0, 1, 3])
        seed = tf.zeros(2, tf.int32)
        steps = self.posterior(x)
        return [
            particles.run(self, steps, z[0].shape[0], seed, given=given, stop_weight_gradients=stop_weight_gradients)
        ]

    def score(self, x: tf.Tensor, z: list[tf.Tensor], posteriors: list[Pass], analytic_kl: bool = False) -> Terms:
        """Returns the terms of the pass that drew z."""
        return posteriors[0].terms

    def terms(
        self,
        x: tf.Tensor,
        posterior: Steps,
        num_samples: int,
        seed: tf.Tensor,
        analytic_kl: bool = False,
        filtering: Filtering | None = None,
    ) -> Terms:
        """Draws z ~ q(z|x) and scores it."""
        return self._run(posterior, num_samples, seed, filtering, keep=False).terms

    # ------------------------------------------------------------------------------------------ use

    def as_sequences(self, x: Any, lengths: npt.ArrayLike | None = None) -> tf.Tensor:
        """Checks sequences and returns them padded with NaN; see `data.pad`."""
        if lengths is not None or isinstance(x, (list, tuple, tf.RaggedTensor)):
            x = pad(x, lengths, self.incomplete)
        return self.as_input(x)

    def log_likelihood(
        self, x: Any, num_samples: int = 128, seed: Seed | None = None, lengths: npt.ArrayLike | None = None
    ) -> tf.Tensor:
        """Estimates log p(x) of sequences by the particle filter, in nats per sequence.

        The estimate of p(x) is unbiased; its log is a lower bound in the mean. The score of a sequence depends neither
        on the others nor on its padding.

        Args:
          x: sequences `[batch, time, *event]`, padded with NaN; or a list of arrays, or a `tf.RaggedTensor`.
          num_samples: k, particles per sequence, which are resampled as in training.
          seed: an integer or `int32[2]`. `None` draws the model's next seed.
          lengths: number of steps of each sequence, `[batch]`, or a mask `[batch, time]`.

        Returns:
          `[batch]`.

        Raises:
          ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.
        """
        check_count(num_samples, "num_samples")
        x = self.as_sequences(x, lengths)
        return use.estimate_log_likelihood(self, x, num_samples, self.next_seed(seed)).log_likelihood

    def filter(
        self, x: Any, num_samples: int = 128, seed: Seed | None = None, lengths: npt.ArrayLike | None = None
    ) -> use.Filtered:
        """Returns particles of q(z_t|x_1, ..., x_t) for every step, with their weights, means and spread.

        The arguments and errors are those of `log_likelihood`.
        """
        check_count(num_samples, "num_samples")
        return use.filter_sequences(self, self.as_sequences(x, lengths), num_samples, self.next_seed(seed))

    def forecast(
        self,
        x: Any,
        steps: int,
        num_samples: int = 128,
        seed: Seed | None = None,
        lengths: npt.ArrayLike | None = None,
    ) -> tf.Tensor:
        """Draws what may follow sequences.

        Args:
          x: as for `log_likelihood`.
          steps: number of steps to draw after the last one of each sequence.
          num_samples: k, continuations of each sequence, from as many particles.
          seed: as for `log_likelihood`.
          lengths: as for `log_likelihood`.

        Returns:
          `[num_samples, batch, steps, *event]`.

        Raises:
          ValueError: as `log_likelihood`; also if `steps` is not a positive integer.
        """
        check_count(steps, "steps")
        check_count(num_samples, "num_samples")
        return use.forecast(self, self.as_sequences(x, lengths), steps, num_samples, self.next_seed(seed))

    def sample(self, n: int, steps: int, seed: Seed | None = None) -> tf.Tensor:
        """Draws n sequences of some steps from the model, `[n, steps, *event]`."""
        return use.sample(self, check_count(n, "n"), check_count(steps, "steps"), self.next_seed(seed))

    def reconstruction(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the means of p(x_t|z_t, .) for one draw of z ~ q(z|x), `[batch, time, *event]`."""
        steps = self.posterior(x)
        record = particles.run(self, steps, 1, seed, keep_means=True).record
        assert record is not None
        mean = record.mean[:, 0]
        return tf.transpose(mean, [1, 0, *range(2, mean.shape.rank)])

    def fold_in_rows(self, seed: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Derives a seed for each sequence from its content, whatever its padding."""
        missing = tf.math.is_nan(x)
        present = tf.reduce_any(~missing, axis=list(range(2, x.shape.rank)))
        count = tf.reduce_max(tf.where(present, tf.range(1, tf.shape(x)[1] + 1), 0), axis=1)
        bits = tf.bitcast(tf.where(missing, tf.zeros_like(x), x) + 0.0, tf.int32)
        bits = tf.cast(tf.reshape(bits, [tf.shape(x)[0], -1]), tf.int64)
        # The keys of a step do not depend on the number of steps.
        keys = random.draw_integers(tf.stack([tf.shape(bits)[1] + 1, 2]), seed, tf.int64)
        sums = tf.linalg.matmul(bits, keys[1:]) + keys[0] * tf.cast(count, tf.int64)[:, tf.newaxis]
        return tf.cast(tf.bitwise.right_shift(sums, tf.cast(32, tf.int64)), tf.int32)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        names = ("transition", "emission", "proposal", "initial", "cell", "features")
        return {
            **super().get_config(),
            **{name: serialize(getattr(self, name)) for name in names},
            "residual": self.residual,
        }


def _join(of_x: tf.Tensor, of_particles: tf.Tensor) -> tf.Tensor:
    """Joins values of x, `[batch, m]` or `[k, batch, m]`, and of particles, `[k, batch, n]`, to `[k, batch, m + n]`."""
    shape = tf.concat([tf.shape(of_particles)[:2], tf.shape(of_x)[-1:]], 0)
    return tf.concat([tf.broadcast_to(of_x, shape), of_particles], axis=-1)
