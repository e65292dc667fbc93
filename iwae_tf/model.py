"""The model: an importance-weighted autoencoder as a Keras model."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.estimates import imputation
from iwae_tf.hierarchy import Hierarchy
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.networks import Baseline
from iwae_tf.objectives import Objective
from iwae_tf.training.multi_sample_model import MultiSampleModel
from iwae_tf.types import Array, Seed


@keras.saving.register_keras_serializable(package="iwae_tf")
class IWAE(Hierarchy, MultiSampleModel):
    """A deep latent-variable model trained by a multi-sample bound.

    The generative network is p(z_L) p(z_{L-1}|z_L) ... p(x|z_1). The inference network is q(z_1|x) ... q(z_L|z_{L-1}),
    or with a ladder q(z_L|x) ... q(z_1|z_2, x).
    With the default objective a training step minimises -(logsumexp_i log w_i - log k), averaged over the batch.

    `fit`, `evaluate` and `predict` accept the same data as any Keras model: arrays, `tf.data` datasets, `PyDataset`s
    and generators of x or of tuples `(x, y, sample_weight)`; targets are not used. They log `loss` (the negative bound
    of the objective), `elbo`, `reconstruction` (E log p(x|z)) and `kl`, in nats, and `effective_sample_size`.
    Calling the model, and `predict`, return reconstructions.

    Args:
      encoder: layers of q, bottom up. Each returns a `tfd.Distribution`: a layer of `iwae_tf.layers`, or any Keras
        layer from `[n, *event]` to a distribution of batch shape `[n]`.
      decoder: layers of p, top down, as many as in the encoder; the last is the likelihood p(x|z_1).
      prior: layer that returns p(z_L) when called without an input.
      objective: an `iwae_tf.objectives.Objective`, which may be replaced at any time. Default: L_50.
      preprocessing: layer from raw data to x as the likelihood sees it, of the same shape, such as
        `layers.StochasticBinarization()`. It runs inside the compiled step. Default: a cast to floats.
      seed: integer seed of the initial weights, of all draws, and of the order of array data in `fit`.
      incomplete: whether entries of x may be NaN, which stands for missing: log p(x|z) leaves them out, and the encoder
        sees 0 in their place. The entries of the likelihood must be independent. The bound of `ImportanceWeighted` is
        then the one that Mattei & Frellsen 2019 call MIWAE, not to be confused with `objectives.MIWAE` of Rainforth
        et al.
      skip: whether all layers of p below the top one read z_L too, concatenated to their input; latent variables must
        then have one axis each.
      ladder: whether inference goes down from the top and merges the evidence of x with p(z_l|z_{l+1}), see
        `hierarchy.ladder.Ladder`. Both networks must follow one bound: not `Combined`, `PIWAE`, or wake-sleep with
        score gradients or a sleep phase, or an objective of discrete latent variables.
      baseline: network from x, `[n, *event_shape]`, to a prediction of its log weights, `[n, 1]`, for objectives that
        learn a baseline. Default: `networks.Baseline()` if the objective is one of them.
      **kwargs: as for any `keras.Model`.

    Attributes:
      data_dtype: name of the dtype of the data that the model was fitted to; an export takes this dtype.
      kl_weight: scalar variable that multiplies log p(z) - log q(z|x) inside log w: 1, or less during warm-up.

    Raises:
      ValueError: if the numbers of layers differ or are 0, the event shapes of two layers do not fit, a latent variable
        has several axes with `skip`, or the objective does not allow a ladder.
      TypeError: if `objective` is not an `Objective`, a layer is not a Keras layer, the entries of the likelihood of
        incomplete data are not independent, or a layer is not an `IndependentNormal` with `ladder`.

    References:
      Burda, Grosse & Salakhutdinov 2015, Importance Weighted Autoencoders, arXiv:1509.00519.
      Mattei & Frellsen 2019, MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets, arXiv:1812.02633.

    Example:
      ```python
      model = iwae_tf.IWAE(
          encoder=[layers.IndependentNormal(8, hidden=(32,))],  # q(z|x)
          decoder=[layers.IndependentBernoulli((8, 8, 1), hidden=(32,))],  # p(x|z)
          prior=layers.StandardNormal(8),
          objective=objectives.ImportanceWeighted(num_samples=5),
          preprocessing=layers.StochasticBinarization(),
          seed=0,
      )
      model.compile("adam")
      model.fit(splits.validation, epochs=1, verbose=0)
      model.log_likelihood(x, num_samples=100).shape  # [20], nats
      ```
    """

    def __init__(
        self,
        encoder: Sequence[keras.layers.Layer],
        decoder: Sequence[keras.layers.Layer],
        prior: keras.layers.Layer,
        objective: Objective | None = None,
        preprocessing: keras.layers.Layer | None = None,
        seed: int | None = None,
        incomplete: bool = False,
        skip: bool = False,
        ladder: bool = False,
        baseline: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        if baseline is None and isinstance(objective, Objective):
            baseline = Baseline() if (objective.inference or objective).learns_baseline else None
        super().__init__(
            encoder,
            decoder,
            prior,
            skip,
            ladder,
            baseline,
            preprocessing=preprocessing,
            seed=seed,
            incomplete=incomplete,
            **kwargs,
        )
        self._set_objective(objective)
        if isinstance(self.decoder[-1], StochasticLayer):
            self.build((None, *self.decoder[-1].event_shape))
            self._tracker.unlock()  # for the metrics that a subclass makes in its own constructor

    def encode(self, x: Array) -> tfd.Distribution:
        """Returns q(z_1|x), a `tfd.Distribution` of batch shape `[batch]`, for x `[batch, *event_shape]`.

        With a ladder this is q(z_1|z_2, x) for one draw of the layers above.
        """
        x, seed = self.as_input(x), self.next_seed()
        return self.infer(self.posterior(self.preprocess(x, seed)), (), random.fold_in(seed, 1))[0][0]

    def sample(self, n: int | tf.Tensor, seed: Seed | None = None) -> tf.Tensor:
        """Draws n observations from the model: means of p(x|z_1) for z ~ p(z), `[n, *event_shape]`.

        With a likelihood that shows draws, such as `layers.PixelCNN`, they are draws of x.
        """
        if not tf.is_tensor(n):
            check_count(n, "n")
        seed = self.next_seed(seed)
        return self.show(self.descend(n, seed)[0], seed)

    def impute(self, x: Array, num_samples: int = 1000, seed: Seed | None = None) -> tf.Tensor:
        """Fills the missing entries of x with estimates of their mean given the others; see `estimates.imputation`.

        Args:
          x: data `[batch, *event_shape]`, as in the training set; NaN where an entry is missing.
          num_samples: k, samples per observation; memory does not grow with it.
          seed: an integer or `int32[2]`. `None` draws the model's next seed.

        Returns:
          `[batch, *event_shape]`; the observed entries of x are unchanged.

        Raises:
          ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.
        """
        return imputation.impute(self, x, num_samples, seed)
