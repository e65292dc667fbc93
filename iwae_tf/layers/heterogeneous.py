"""The likelihood of tables, whose columns are of different kinds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.layers import rules
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import Bernoulli
from iwae_tf.layers.categorical import CategoricalDistribution
from iwae_tf.layers.columns import Column, as_columns, find_kind, serialize_columns, stack_loc_and_scale
from iwae_tf.layers.counts import Poisson
from iwae_tf.layers.missing import ignore_missing
from iwae_tf.layers.normal import Normal
from iwae_tf.layers.rules import Rule, Values

#: Least scale of a real or positive column, in units of the column's scale. It bounds the density where values repeat.
MIN_SCALE = 0.01


class LogNormal(tfd.LogNormal):
    """`tfd.LogNormal` that draws by the fast `Normal`."""

    def _call_sample_n(self, sample_shape: tf.Tensor, seed: tf.Tensor | None, **kwargs: Any) -> tf.Tensor:
        return tf.exp(Normal(self.loc, self.scale).sample(sample_shape, seed=seed))


class ColumnProduct(tfd.Distribution):
    """The distribution of the rows of a table, whose groups of columns are independent.

    Args:
      groups: pairs of the indices of columns and a `tfd.Distribution` of these columns, of event shape
        `[len(indices)]`.
    """

    def __init__(self, groups: Sequence[tuple[list[int], tfd.Distribution]]) -> None:
        parameters = dict(locals())
        self.indices, self.distributions = zip(*groups, strict=True)
        super().__init__(
            dtype=self.distributions[0].dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="ColumnProduct",
        )

    def restore(self, values: Sequence[tf.Tensor]) -> tf.Tensor:
        """Puts the values of the groups, each `[..., len(indices)]`, in the order of the table."""
        order = np.argsort(np.concatenate(self.indices))
        return tf.gather(tf.concat(values, axis=-1), order, axis=-1)

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([sum(map(len, self.indices))])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant(self.event_shape.as_list(), tf.int32)

    def _batch_shape(self) -> tf.TensorShape:
        return self.distributions[0].batch_shape

    def _batch_shape_tensor(self) -> tf.Tensor:
        return self.distributions[0].batch_shape_tensor()

    def _sample_n(self, n: int | tf.Tensor, seed: tf.Tensor | None = None) -> tf.Tensor:
        return self.restore([d.sample(n, seed=random.fold_in(seed, i)) for i, d in enumerate(self.distributions)])

    def _log_prob(self, value: tf.Tensor) -> tf.Tensor:
        groups = zip(self.indices, self.distributions, strict=True)
        return tf.add_n([d.log_prob(tf.gather(value, indices, axis=-1)) for indices, d in groups])

    def _mean(self) -> tf.Tensor:
        return self.restore([d.mean() for d in self.distributions])

    def expectations(self) -> tf.Tensor:
        """Returns numbers that can be averaged over distributions, `[*batch, width]`.

        They are the mean of a column, but the class probabilities of a category.
        """

        def expectation(d: tfd.Distribution) -> tf.Tensor:
            if not isinstance(d.distribution, CategoricalDistribution):
                return d.mean()
            probs = d.distribution.probs_parameter()
            return tf.reshape(probs, tf.concat([tf.shape(probs)[:-2], [probs.shape[-2] * probs.shape[-1]]], 0))

        return tf.concat([expectation(d) for d in self.distributions], axis=-1)

    def to_rows(self, expectations: tf.Tensor) -> tf.Tensor:
        """Returns rows of the table, `[..., num_columns]`, for (averaged) `expectations`, `[..., width]`."""
        values, start = [], 0
        for indices, d in zip(self.indices, self.distributions, strict=True):
            categorical = isinstance(d.distribution, CategoricalDistribution)
            classes = d.distribution.logits.shape[-1] if categorical else 1
            group = expectations[..., start : start + len(indices) * classes]
            start += len(indices) * classes
            if categorical:
                probs = tf.reshape(group, tf.concat([tf.shape(group)[:-1], [len(indices), classes]], 0))
                group = tf.cast(tf.argmax(probs, axis=-1), group.dtype)
            values.append(group)
        return self.restore(values)


def _rescale(columns: Sequence[Column], loc: tf.Tensor, log_scale: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes loc and scale in the units of the columns."""
    mean, unit = stack_loc_and_scale(columns, loc.dtype)
    return mean + unit * loc, unit * (MIN_SCALE + tf.exp(log_scale))


def _make_normal(columns: Sequence[Column], loc: tf.Tensor, log_scale: tf.Tensor) -> tfd.Distribution:
    return Normal(*_rescale(columns, loc, log_scale))


def _make_log_normal(columns: Sequence[Column], loc: tf.Tensor, log_scale: tf.Tensor) -> tfd.Distribution:
    return LogNormal(*_rescale(columns, loc, log_scale))


def _make_poisson(columns: Sequence[Column], log_rate: tf.Tensor) -> tfd.Distribution:
    mean, unit = stack_loc_and_scale(columns, log_rate.dtype)
    return Poisson(log_rate=mean + unit * log_rate)


def _make_bernoulli(columns: Sequence[Column], logits: tf.Tensor) -> tfd.Distribution:
    return Bernoulli(logits=logits, dtype=logits.dtype)


def _make_categorical(columns: Sequence[Column], logits: tf.Tensor) -> tfd.Distribution:
    exists = np.arange(logits.shape[-1]) < np.array([[len(column.categories)] for column in columns])
    # Not -inf, since 0 times -inf is NaN.
    return CategoricalDistribution(tf.where(exists, logits, tf.constant(-1e9, logits.dtype)), dtype=logits.dtype)


#: For each kind of column the names of its heads, and a function from the columns and the heads to the distribution.
COLUMN_LIKELIHOODS: dict[str, tuple[tuple[str, ...], Callable[..., tfd.Distribution]]] = {
    "real": (("loc", "log_scale"), _make_normal),
    "positive": (("loc", "log_scale"), _make_log_normal),
    "count": (("log_rate",), _make_poisson),
    "binary": (("logits",), _make_bernoulli),
    "category": (("logits",), _make_categorical),
}


@keras.saving.register_keras_serializable(package="iwae_tf")
class Heterogeneous(StochasticLayer):
    """The likelihood of the rows of a table, whose columns are independent given z and of different kinds.

    | kind | values | distribution | linear in the features |
    |---|---|---|---|
    | `real` | any | normal | loc and log scale, in units of the column's own |
    | `positive` | above 0 | log-normal | loc and log scale of the logarithm, in the column's units |
    | `count` | 0, 1, ... | Poisson | log rate, in the column's units |
    | `binary` | 0, 1 | Bernoulli | logit |
    | `category` | codes 0, 1, ... | categorical | logits |

    Entries that are NaN are missing, and log p(x|z) leaves them out. A network that reads such rows must accept NaN, as
    `TableFeatures` does. The mean holds one number for each column: for a category the most probable code.

    Args:
      columns: list of `Column`s, for example from `data.from_dataframe`, or of dicts of their attributes; or a dict
        from names to kinds or to dicts of the other attributes.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if there are no columns, two have the same name, or `Column` rejects one.

    References:
      Nazabal et al. 2020, Handling Incomplete Heterogeneous Data using VAEs, arXiv:1807.03653.

    Example:
      ```python
      likelihood = layers.Heterogeneous({"age": "positive", "children": "count"}, hidden=(16,))
      p = likelihood(tf.zeros([2, 4]))
      p.log_prob(tf.constant([[35.0, 2.0], [np.nan, 0.0]]))  # [2], nats; the second age is missing
      ```
    """

    allows_missing = True

    def __init__(self, columns: Iterable[Column | Mapping[str, Any]] | Mapping[str, Any], **kwargs: Any) -> None:
        columns = as_columns(columns)
        super().__init__(len(columns), **kwargs)
        self.columns = columns
        self.groups = {kind: indices for kind in COLUMN_LIKELIHOODS if (indices := find_kind(columns, kind))}
        self.parameters = tuple(f"{kind}_{head}" for kind in self.groups for head in COLUMN_LIKELIHOODS[kind][0])

    def parameter_shape(self, parameter: str) -> tuple[int, ...]:
        columns = self._columns_of(parameter.split("_", maxsplit=1)[0])
        classes = max(len(column.categories) for column in columns)
        return (len(columns), classes) if classes else (len(columns),)

    def distribution(self, **parameters: tf.Tensor) -> ColumnProduct:
        groups = []
        for kind, indices in self.groups.items():
            heads, make = COLUMN_LIKELIHOODS[kind]
            entries = make(self._columns_of(kind), *(parameters[f"{kind}_{head}"] for head in heads))
            groups.append((indices, ignore_missing(tfd.Independent(entries, 1))))
        return ColumnProduct(groups)

    def _columns_of(self, kind: str) -> list[Column]:
        return [self.columns[i] for i in self.groups[kind]]

    def rules(self, x: Values) -> Iterator[Rule]:
        for i, column in enumerate(self.columns):
            yield from rules.allow_missing([column.rule(x[:, i])])

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["event_shape"]  # the columns give it
        return {**config, "columns": serialize_columns(self.columns)}
