"""Types that signatures share."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import keras
import numpy.typing as npt
import pandas as pd
import tensorflow as tf

#: One array of observations, `[n, *event_shape]`, in any container: a NumPy array, a tensor, nested lists, a frame.
Array: TypeAlias = npt.ArrayLike | tf.Tensor | pd.DataFrame
#: Observations as Keras takes them: an array, a dataset, a `PyDataset`, or a generator of batches.
Data: TypeAlias = Array | tf.data.Dataset | keras.utils.PyDataset | Iterable
#: A stateless seed: an integer or `int32[2]`.
Seed: TypeAlias = int | tf.Tensor
#: A size or a shape as arguments take it: a positive integer or a sequence of positive integers.
Sizes: TypeAlias = int | Sequence[int]
#: An activation as Keras takes it: a name, a function, or `None` for none.
Activation: TypeAlias = str | Callable[[tf.Tensor], tf.Tensor] | None
