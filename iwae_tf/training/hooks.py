"""What `fit` and `evaluate` add to the callbacks of a user."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class WatchStreams(keras.callbacks.Callback):
    """Refuses streams of uint8 data that hold only 0 and 1, once a whole pass has shown it.

    Read as pixels from 0 to 255, such masks are nearly black. Arrays are refused before the first step; a single batch
    of a stream does not decide.
    """

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.model.train_function.largest = None

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._check(self.model.train_function)

    def on_test_begin(self, logs: dict | None = None) -> None:
        self.model.test_function.largest = None

    def on_test_end(self, logs: dict | None = None) -> None:
        self._check(self.model.test_function)

    def _check(self, function: Any) -> None:
        largest = getattr(function, "largest", None)
        if largest and hasattr(self.model.preprocessing, "check_all"):
            self.model.preprocessing.check_all(np.array([largest], np.uint8))


@contextlib.contextmanager
def surround(callbacks: Any) -> Iterator[list[keras.callbacks.Callback]]:
    """Yields the callbacks of a user, as `keras.Model.fit` accepts them, with our own before and after them.

    Between the first and the last, at the end of an epoch, TensorFlow records all summaries. Otherwise Keras'
    `TensorBoard` with an `update_freq` writes nothing unless the number of batches so far is a multiple of it.
    """
    scopes = contextlib.ExitStack()

    def begin(epoch: int, logs: dict) -> None:
        scopes.enter_context(tf.summary.record_if(True))

    def end(epoch: int, logs: dict) -> None:
        scopes.close()

    first, last = (keras.callbacks.LambdaCallback(on_epoch_end=hook) for hook in (begin, end))
    with scopes:
        yield [first, *_as_list(callbacks), last, WatchStreams()]


def _as_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks.callbacks
    return keras.tree.flatten(callbacks) if callbacks else []
