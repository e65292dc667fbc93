"""A Keras model of observations: preprocessing, random seeds, and the rules that its data must satisfy."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import keras
import tensorflow as tf

from iwae_tf import random
from iwae_tf.layers import rules
from iwae_tf.layers.observation import accepts_range
from iwae_tf.layers.rules import Rule
from iwae_tf.types import Array, Seed

Method = TypeVar("Method", bound=Callable)


def in_phase(method: Method) -> Method:
    """Makes a method call layers in inference mode, unless an enclosing `ObservationModel.phase` says otherwise.

    Without a phase, Keras' augmentation layers assume that the model is training.
    """

    @functools.wraps(method)
    @tf.autograph.experimental.do_not_convert
    def run(self: "ObservationModel", *args: Any, **kwargs: Any) -> Any:
        with self.phase(None):
            return method(self, *args, **kwargs)

    return run  # type: ignore[return-value]


class ObservationModel(keras.Model):
    """Base of the models of observations x. It owns what happens to data before the networks see them.

    A subclass gives `event_shape`, `observation_layer` and `reads_missing`.

    Args:
      preprocessing: layer from raw data to x as the likelihood sees it, of the same shape. `None` casts to floats.
      seed: integer seed of the initial weights and of all draws.
      incomplete: whether entries of x may be NaN, which stands for missing.
      **kwargs: as for `keras.Model`.

    Attributes:
      data_dtype: name of the dtype of the data that the model was fitted to; an export takes this dtype.
      programs: compiled functions that `compiling.cached` keeps.
      baseline: network that predicts the log weights of x, for objectives that learn one, or `None`.
      is_sequential: whether an observation is a sequence, which the model scores while it draws.
    """

    is_sequential: ClassVar[bool] = False
    baseline: keras.layers.Layer | None = None

    def __init__(
        self,
        preprocessing: keras.layers.Layer | None = None,
        seed: int | None = None,
        incomplete: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.autocast = False  # a low-precision policy is for matrix products, not for the data
        self.preprocessing = preprocessing
        self.seed, self.incomplete = None if seed is None else int(seed), incomplete
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.data_dtype: str | None = None
        self.programs: dict[tuple, Callable] = {}

    def _adopt(self, networks: Iterable[keras.layers.Layer], expected: str) -> None:
        """Checks the networks, gives seeds to those that have none, and makes the weight of the KL.

        `expected` begins the error for what is not a Keras layer.
        """
        for i, layer in enumerate(networks):
            if not isinstance(layer, keras.layers.Layer):
                raise TypeError(f"{expected} Received: {layer!r}")
            if getattr(layer, "seed", 0) is None:
                layer.seed = random.derive(self.seed, i)
        self.kl_weight = self.add_weight(shape=(), initializer="ones", trainable=False, name="kl_weight")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        raise NotImplementedError

    @property
    def smallest_shape(self) -> tuple[int, ...]:
        """Shape of the smallest observation: `event_shape`, with 1 for a size that it leaves open."""
        return tuple(size or 1 for size in self.event_shape)

    @property
    def observation_layer(self) -> keras.layers.Layer:
        """The layer of p(x|z), whose rules x must satisfy."""
        raise NotImplementedError

    @property
    def reads_missing(self) -> bool:
        """Whether the networks return finite numbers for an observation whose entries are all missing."""
        raise NotImplementedError

    @property
    def allows_missing(self) -> bool:
        """Whether entries of x may be NaN, which stands for missing."""
        return self.incomplete or getattr(self.observation_layer, "allows_missing", False)

    @property
    def shows_draws(self) -> bool:
        """Whether pictures and exports show draws of x in place of means."""
        return getattr(self.observation_layer, "shows_draws", False)

    def observe(self, x: tf.Tensor) -> Any:
        """Returns x, for `terms` and `score`, with what the likelihood computes from it alone, for any number of z."""
        return x

    def next_seed(self, seed: Seed | None = None) -> tf.Tensor:
        """Returns `seed` as a stateless seed, or for `None` draws the model's next seed."""
        return random.next_seed(self.seed_generator) if seed is None else random.as_seed(seed)

    def fold_in_rows(self, seed: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Derives a seed for each row from its content, `int32[batch, 2]`; see `random.fold_in_rows`."""
        return random.fold_in_rows(seed, x)

    @contextlib.contextmanager
    def phase(self, training: bool | None) -> Iterator[None]:
        """Calls layers within the context in training or in inference mode, like `call(training=)`.

        Args:
          training: the mode. `None` keeps the mode of an enclosing context, or means `False` where there is none.
        """
        context = self._get_call_context()
        outer = getattr(context, "training", None)
        context.training = bool(outer) if training is None else training
        try:
            yield
        finally:
            context.training = outer
            if outer is None:  # otherwise the context belongs to an enclosing phase
                self._maybe_reset_call_context()

    def rules(self, x: Array) -> Iterator[Rule]:
        """Yields the rules that raw data must satisfy; see `layers.rules`."""
        if self.allows_missing and not self.reads_missing:
            yield rules.finite(x)
        yield from self._rules_of(self.preprocessing or self.observation_layer, x)

    def _rules_of(self, layer: keras.layers.Layer, x: Array) -> Iterable[Rule]:
        values = layer.rules(x) if hasattr(layer, "rules") else [rules.finite(x)]
        return rules.allow_missing(values) if self.allows_missing else values

    def assert_rules(self, x: tf.Tensor) -> tf.Tensor:
        """Returns unchecked data after an assertion that every row satisfies the rules."""
        return rules.assert_rules(x, self.rules(x))

    @in_phase
    def preprocess(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns x as the likelihood sees it, drawn with this seed (`int32[2]`); missing entries stay NaN."""
        x = tf.convert_to_tensor(x)
        if not (x.dtype.is_floating and self.allows_missing):
            return self._preprocess_complete(x, seed)
        missing = tf.math.is_nan(x)
        processed = self._preprocess_complete(tf.where(missing, tf.zeros_like(x), x), seed)
        return tf.where(missing, tf.constant(float("nan"), processed.dtype), processed)

    def _preprocess_complete(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        dtype = self.dtype_policy.variable_dtype
        if self.preprocessing is None:
            return tf.cast(x, dtype)
        if "seed" in inspect.signature(self.preprocessing.call).parameters:
            return self.preprocessing(x, seed=random.fold_in(seed, 0))
        return tf.cast(self.preprocessing(x), dtype)

    def preprocess_and_assert(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Preprocesses data, and asserts that the likelihood's rules hold where preprocessing may break them."""
        x = self.preprocess(x, seed)
        return (
            rules.assert_rules(x, self._rules_of(self.observation_layer, x))
            if self.preprocessing_may_break_rules
            else x
        )

    @property
    def preprocessing_may_break_rules(self) -> bool:
        """Whether preprocessing may turn valid data into invalid ones, so that its result must be checked too."""
        support = getattr(self.preprocessing, "support", None)
        return self.preprocessing is not None and not (support and accepts_range(self.observation_layer, support))

    def get_config(self) -> dict[str, Any]:
        preprocessing = keras.saving.serialize_keras_object(self.preprocessing)
        own = {"preprocessing": preprocessing, "seed": self.seed, "incomplete": self.incomplete}
        return {**super().get_config(), **own}

    def save_own_variables(self, store: dict[str, Any]) -> None:
        # Keras does not save the state of seed generators; without it a reloaded model would repeat its draws.
        super().save_own_variables(store)
        store["seed_state"] = self.seed_generator.state.numpy()

    def load_own_variables(self, store: dict[str, Any]) -> None:
        super().load_own_variables({name: store[name] for name in store.keys() - {"seed_state"}})
        self.seed_generator.state.assign(store["seed_state"])
