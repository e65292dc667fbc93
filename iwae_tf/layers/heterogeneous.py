"""The likelihood of tables, whose columns are of different kinds."""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from iwae_tf import random
from iwae_tf.layers import rules
from iwae_tf.layers.base import StochasticLayer
from iwae_tf.layers.bernoulli import Bernoulli
from iwae_tf.layers.categorical import CategoricalDistribution
from iwae_tf.layers.columns import as_columns, find_kind, serialize_columns, stack_loc_and_scale
from iwae_tf.layers.counts import Poisson
from iwae_tf.layers.missing import ignore_missing
from iwae_tf.layers.normal import Normal

#: Least scale of a real or positive column, in that of the column: its density is bounded where a value repeats.
MIN_SCALE = 0.01


class LogNormal(tfd.LogNormal):
    """`tfd.LogNormal` whose samples are those of the fast `Normal`."""

    def _call_sample_n(self, sample_shape, seed, **kwargs):
        return tf.exp(Normal(self.loc, self.scale).sample(sample_shape, seed=seed))


class ColumnProduct(tfd.Distribution):
    """Independent groups of columns, each with a distribution of its own, as one of rows of the table.

    Args:
      groups: pairs of the places of columns and a `tfd.Distribution` of them, of event shape `[len(places)]`.
    """

    def __init__(self, groups):
        parameters = dict(locals())
        self.places, self.distributions = zip(*groups, strict=True)
        super().__init__(
            dtype=self.distributions[0].dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name="ColumnProduct",
        )

    def restore(self, values):
        """Puts values of the groups, each `[..., len(places)]`, in the order of the table."""
        order = np.argsort(np.concatenate(self.places))
        return tf.gather(tf.concat(values, axis=-1), order, axis=-1)

    def _event_shape(self):
        return tf.TensorShape([sum(map(len, self.places))])

    def _event_shape_tensor(self):
        return tf.constant(self.event_shape.as_list(), tf.int32)

    def _batch_shape(self):
        return self.distributions[0].batch_shape

    def _batch_shape_tensor(self):
        return self.distributions[0].batch_shape_tensor()

    def _sample_n(self, n, seed=None):
        return self.restore([d.sample(n, seed=random.fold_in(seed, i)) for i, d in enumerate(self.distributions)])

    def _log_prob(self, value):
        parts = zip(self.places, self.distributions, strict=True)
        return tf.add_n([d.log_prob(tf.gather(value, chosen, axis=-1)) for chosen, d in parts])

    def _mean(self):
        return self.restore([d.mean() for d in self.distributions])

    def expectations(self):
        """Returns what can be averaged over distributions, `[*batch, width]`: class probabilities in place of codes."""

        def expectation(d):
            if not isinstance(d.distribution, CategoricalDistribution):
                return d.mean()
            probs = d.distribution.probs_parameter()
            return tf.reshape(probs, tf.concat([tf.shape(probs)[:-2], [probs.shape[-2] * probs.shape[-1]]], 0))

        return tf.concat([expectation(d) for d in self.distributions], axis=-1)

    def to_rows(self, expectations):
        """Returns rows of the table, `[..., num_columns]`, for (averaged) `expectations`, `[..., width]`."""
        values, start = [], 0
        for chosen, d in zip(self.places, self.distributions, strict=True):
            classes = d.distribution.logits.shape[-1] if isinstance(d.distribution, CategoricalDistribution) else 1
            part = expectations[..., start : start + len(chosen) * classes]
            start += len(chosen) * classes
            if isinstance(d.distribution, CategoricalDistribution):
                probs = tf.reshape(part, tf.concat([tf.shape(part)[:-1], [len(chosen), classes]], 0))
                part = tf.cast(tf.argmax(probs, axis=-1), part.dtype)
            values.append(part)
        return self.restore(values)


def _in_units(columns, loc, log_scale):
    mean, unit = stack_loc_and_scale(columns, loc.dtype)
    return mean + unit * loc, unit * (MIN_SCALE + tf.exp(log_scale))


def _count(columns, log_rate):
    mean, unit = stack_loc_and_scale(columns, log_rate.dtype)
    return Poisson(log_rate=mean + unit * log_rate)


def _category(columns, logits):
    exists = np.arange(logits.shape[-1]) < np.array([[len(column.categories)] for column in columns])
    # Not -inf, which times 0 is NaN.
    return CategoricalDistribution(tf.where(exists, logits, tf.constant(-1e9, logits.dtype)), dtype=logits.dtype)


#: For each kind of column the heads, and a function of the columns and the heads that makes the distribution.
COLUMN_LIKELIHOODS = {
    "real": (("loc", "log_scale"), lambda columns, *heads: Normal(*_in_units(columns, *heads))),
    "positive": (("loc", "log_scale"), lambda columns, *heads: LogNormal(*_in_units(columns, *heads))),
    "count": (("log_rate",), _count),
    "binary": (("logits",), lambda columns, logits: Bernoulli(logits=logits, dtype=logits.dtype)),
    "category": (("logits",), _category),
}


@keras.saving.register_keras_serializable(package="iwae_tf")
class Heterogeneous(StochasticLayer):
    """The likelihood of the rows of a table, whose columns are independent given z and of different kinds.

    | kind | values | distribution | linear in the features |
    |---|---|---|---|
    | `real` | any | normal | loc and log scale, in units of the column's own |
    | `positive` | above 0 | log-normal | the same of the logarithm |
    | `count` | 0, 1, ... | Poisson | log rate, likewise |
    | `binary` | 0, 1 | Bernoulli | logit |
    | `category` | codes 0, 1, ... | categorical | logits |

    Entries that are NaN are missing and left out of log p(x|z). Networks that read such rows must take them:
    `TableFeatures` does. The mean holds one number for each column: of a category the most probable code.

    Args:
      columns: list of `Column`s, such as `data.from_dataframe` makes of a frame, or of dicts of their attributes; or a
        dict from names to kinds or to dicts of the other attributes.
      **kwargs: the other arguments of `StochasticLayer`.

    Raises:
      ValueError: if there are no columns, two have the same name, or one is not as `Column` says.

    References:
      Nazabal et al. 2020, Handling Incomplete Heterogeneous Data using VAEs, arXiv:1807.03653.
    """

    allows_missing = True

    def __init__(self, columns, **kwargs):
        columns = as_columns(columns)
        super().__init__(len(columns), **kwargs)
        self.columns = columns
        self.groups = {kind: chosen for kind in COLUMN_LIKELIHOODS if (chosen := find_kind(columns, kind))}
        self.parameters = tuple(f"{kind}_{head}" for kind in self.groups for head in COLUMN_LIKELIHOODS[kind][0])

    def parameter_shape(self, parameter):
        columns = self._columns_of(parameter.split("_", maxsplit=1)[0])
        classes = max(len(column.categories) for column in columns)
        return (len(columns), classes) if classes else (len(columns),)

    def distribution(self, **parameters):
        parts = []
        for kind, chosen in self.groups.items():
            heads, likelihood = COLUMN_LIKELIHOODS[kind]
            part = likelihood(self._columns_of(kind), *(parameters[f"{kind}_{head}"] for head in heads))
            parts.append((chosen, ignore_missing(tfd.Independent(part, 1))))
        return ColumnProduct(parts)

    def _columns_of(self, kind):
        return [self.columns[i] for i in self.groups[kind]]

    def rules(self, x):
        for i, column in enumerate(self.columns):
            yield from rules.allow_missing([column.rule(x[:, i])])

    def get_config(self):
        config = super().get_config()
        del config["event_shape"]  # which is that of the columns
        return {**config, "columns": serialize_columns(self.columns)}
