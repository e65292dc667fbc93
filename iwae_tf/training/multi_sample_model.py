"""A Keras model trained by a multi-sample bound, whatever its networks are."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import keras
import numpy.typing as npt
import tensorflow as tf

from iwae_tf import random
from iwae_tf.checks import check_count
from iwae_tf.data.streams import Rows, check_batch, make_stream
from iwae_tf.estimates import likelihood
from iwae_tf.training import feeds, hooks, replicas
from iwae_tf.training.compiled_model import CompiledModel
from iwae_tf.types import Array, Data, Seed

Callbacks: TypeAlias = keras.callbacks.Callback | keras.callbacks.CallbackList | Sequence[keras.callbacks.Callback]


class MultiSampleModel(CompiledModel):
    """Base of the models that an `Objective` over log weights trains: fitting, likelihoods and saving.

    A subclass gives the networks, see `CompiledModel`.
    """

    # ------------------------------------------------------------------------------------------ fitting

    def fit(
        self,
        x: Data | None = None,
        y: npt.ArrayLike | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | Literal["auto"] = "auto",
        callbacks: Callbacks | None = None,
        validation_split: float = 0.0,
        validation_data: Data | Rows | None = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: npt.ArrayLike | None = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int = 1,
    ) -> keras.callbacks.History:
        """Trains the model, like `keras.Model.fit`.

        Arrays are shuffled with the model's seed, so that the same seed repeats the run. Sample weights need no
        targets: they weight the rows in the loss, its gradient and all metrics. Only `class_weight` reads targets.
        Validation uses the objective's own bound, at a `kl_weight` of 1. With `initial_epoch`, data of `iwae_tf.data`
        come in the order that they would have had in that epoch.

        Raises:
          ValueError: if data do not match the model's input, hold NaN, are endless or empty; if weights are negative or
            do not match the rows; or if `validation_split` is to split anything but arrays.
          TypeError: if the data are not numeric, or cannot be iterated over.
        """
        feed = feeds.prepare(
            self,
            (x, y, sample_weight),
            validation_data,
            validation_split=validation_split,
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            shuffle=shuffle,
            class_weight=class_weight,
            initial_epoch=initial_epoch,
            steps_per_epoch=steps_per_epoch,
            validation_steps=validation_steps,
            callbacks=callbacks,
        )
        try:
            with replicas.report_lost_workers(), hooks.surround(callbacks) as all_callbacks:
                return super().fit(
                    feed.train,
                    epochs=epochs,
                    verbose=verbose,
                    callbacks=all_callbacks,
                    validation_data=feed.validation,
                    shuffle=shuffle and isinstance(feed.train, keras.utils.PyDataset),
                    class_weight=class_weight,
                    initial_epoch=initial_epoch,
                    steps_per_epoch=feed.steps_per_epoch,
                    validation_steps=feed.validation_steps,
                    validation_freq=validation_freq,
                )
        finally:  # after an interrupt Keras does not call `on_train_end`
            if self.train_function is not None:
                self.train_function.release()

    def evaluate(
        self,
        x: Data | None = None,
        y: npt.ArrayLike | None = None,
        batch_size: int | None = None,
        verbose: int | Literal["auto"] = "auto",
        sample_weight: npt.ArrayLike | None = None,
        steps: int | None = None,
        callbacks: Callbacks | None = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> list[float] | dict[str, float]:
        """Evaluates the objective's own bound at a `kl_weight` of 1, like `keras.Model.evaluate`."""
        if kwargs.get("_use_cached_eval_dataset"):  # called by fit, whose data are ready
            return super().evaluate(x, y, batch_size, verbose, sample_weight, steps, callbacks, return_dict, **kwargs)
        stream = make_stream(self, x, y, sample_weight, batch_size, steps)
        self._assert_compile_called("evaluate")
        data, steps = feeds.for_keras(self, stream, steps)
        with hooks.surround(callbacks) as all_callbacks:
            return super().evaluate(
                data, verbose=verbose, steps=steps, callbacks=all_callbacks, return_dict=return_dict, **kwargs
            )

    def predict(
        self,
        x: Data,
        batch_size: int | None = None,
        verbose: int | Literal["auto"] = "auto",
        steps: int | None = None,
        callbacks: Callbacks | None = None,
    ) -> Any:
        """Returns reconstructions, means of p(x|z) for one z ~ q(z|x) each, like `keras.Model.predict`."""
        data = make_stream(self, x, None, None, batch_size, steps).data
        return super().predict(data, None, verbose, steps, callbacks)

    def train_on_batch(
        self,
        x: Array,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        class_weight: dict[int, float] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Trains on a single batch, like `keras.Model.train_on_batch`."""
        x, y, sample_weight = check_batch(self, x, y, sample_weight)
        return super().train_on_batch(x, y, sample_weight, class_weight, return_dict)

    def test_on_batch(
        self,
        x: Array,
        y: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Evaluates a single batch, like `keras.Model.test_on_batch`."""
        return super().test_on_batch(*check_batch(self, x, y, sample_weight), return_dict)

    # ------------------------------------------------------------------------------------------ use

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return self._reconstruct(inputs, tf.zeros(2, tf.int32))

    def log_weights(self, x: Array, num_samples: int, seed: Seed | None = None) -> tf.Tensor:
        """Draws log w = log p(x, z) - log q(z|x) for z ~ q(z|x), in nats; `kl_weight` applies, as in training.

        Args:
          x: data `[batch, *event_shape]`, as in the training set.
          num_samples: k, samples per observation.
          seed: an integer or `int32[2]`. `None` draws the model's next seed.

        Returns:
          `[num_samples, batch]`.

        Raises:
          ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.
        """
        check_count(num_samples, "num_samples")
        x, seed = self.as_input(x), self.next_seed(seed)
        x = self.preprocess(x, seed)
        return self.terms(x, self.posterior(x), num_samples, random.fold_in(seed, 1)).log_weights(self.kl_weight)

    def log_likelihood(self, x: Array, num_samples: int = 5000, seed: Seed | None = None) -> tf.Tensor:
        """Estimates log p(x) by L_k with k = `num_samples`, in nats; see `estimates.likelihood.estimate`.

        Args:
          x: data `[batch, *event_shape]`, as in the training set.
          num_samples: k, samples per observation; memory does not grow with it.
          seed: an integer or `int32[2]`. `None` draws the model's next seed.

        Returns:
          `[batch]`.

        Raises:
          ValueError: if the data do not match the model's input, or `num_samples` is not a positive integer.
        """
        return likelihood.estimate(self, x, num_samples, seed).log_likelihood

    def reconstruct(self, x: Array, seed: Seed | None = None) -> tf.Tensor:
        """Returns means of p(x|z) for one draw z ~ q(z|x) each, `[batch, *event_shape]`."""
        return self._reconstruct(self.as_input(x), self.next_seed(seed))

    def _reconstruct(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return self.reconstruction(self.preprocess(x, seed), random.fold_in(seed, 1))

    # ------------------------------------------------------------------------------------------ saving

    def get_config(self) -> dict[str, Any]:
        objective = keras.saving.serialize_keras_object(self.objective)
        return {**super().get_config(), "objective": objective, "data_dtype": self.data_dtype}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MultiSampleModel":
        config = keras.saving.deserialize_keras_object(config)
        data_dtype = config.pop("data_dtype", None)
        model = cls(**config)
        model.data_dtype = data_dtype
        return model

    def save(self, filepath: Any, overwrite: bool = True, zipped: bool | None = None, **kwargs: Any) -> None:
        """Saves the model in Keras' own format, like `keras.Model.save`.

        Raises:
          ValueError: if the path does not end in `.keras`: HDF5 cannot hold everything that loading needs.
        """
        if not str(filepath).endswith(".keras"):
            raise ValueError(f"Expected a path that ends in .keras. Received: {filepath}")
        super().save(filepath, overwrite, zipped, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Refers to `iwae_tf.export`, whose SavedModel has an endpoint for each use.

        Raises:
          NotImplementedError: always.
        """
        raise NotImplementedError("Expected iwae_tf.export(model, path), which writes every endpoint. Received: export")
