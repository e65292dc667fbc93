"""An IWAE with a known loss, and a plain Keras model with the same one."""

import functools

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import iwae_tf
from iwae_tf import layers, objectives

LOG_2_PI = float(np.log(2 * np.pi))


class Nothing(keras.layers.Layer):
    """q(z|x) that is the prior, so that log w is log p(x) whatever z is."""

    def call(self, x):
        return tfd.Independent(tfd.Normal(tf.zeros([tf.shape(x)[0], 1]), 1.0), 1)


class Centre(keras.layers.Layer):
    """p(x|z) = N(b, I): only its weight b is learnt."""

    def __init__(self, event_shape, **kwargs):
        super().__init__(**kwargs)
        self.event_shape = event_shape

    def build(self, input_shape):
        self.b = self.add_weight(shape=self.event_shape, initializer="zeros", name="b")

    def call(self, z):
        ones = tf.ones([tf.shape(z)[0], *[1] * len(self.event_shape)])
        return tfd.Independent(tfd.Normal(ones * self.b, 1.0), len(self.event_shape))


class Plain(keras.Model):
    """The same loss, -log N(x; b, I), as a Keras model has it: with x for targets."""

    def __init__(self, event_shape):
        super().__init__()
        self.b = self.add_weight(shape=event_shape, initializer="zeros", name="b")

    def call(self, x):
        return tf.zeros_like(x) + self.b


def squared_distance(x, b):
    axes = list(range(1, x.shape.rank))
    return 0.5 * tf.reduce_sum((x - b) ** 2, axes) + 0.5 * LOG_2_PI * np.prod(x.shape[1:])


def ours(event_shape=(3,), **kwargs):
    model = iwae_tf.IWAE(
        [Nothing()], [Centre(event_shape)], layers.StandardNormal(1), objective=objectives.ELBO(), seed=0, **kwargs
    )
    model.build((None, *event_shape))
    model.compile(keras.optimizers.SGD(0.1))
    return model


def plain(event_shape=(3,)):
    model = Plain(event_shape)
    model.build((None, *event_shape))
    model.compile(keras.optimizers.SGD(0.1), loss=squared_distance)
    return model


@functools.cache
def _pair(event_shape):
    models = ours(event_shape), plain(event_shape)
    models[0].compile(keras.optimizers.SGD(0.1), steps_per_execution=3)
    return models


def pair(event_shape=(3,)):
    """Returns ours and the plain one as new, but compiled already, which takes most of the time of a test."""
    for model in (models := _pair(event_shape)):
        (model.b if isinstance(model, Plain) else model.decoder[0].b).assign(np.zeros(event_shape))
        model.optimizer.iterations.assign(0)
    return models


def b_of(model):
    return np.asarray(model.b if isinstance(model, Plain) else model.decoder[0].b)
