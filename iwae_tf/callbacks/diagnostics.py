"""Diagnostics in TensorBoard while a model trains."""

import gc
import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
import tensorflow as tf
from matplotlib import image
from matplotlib.figure import Figure

from iwae_tf import evaluation, plots
from iwae_tf.callbacks.hparams import write_hparams
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.evaluation.batches import preprocess_batches, score_batches
from iwae_tf.evaluation.importance_weights import NOTICEABLE
from iwae_tf.log_weights import effective_sample_size, log_mean_exp, normalized_weights
from iwae_tf.plots.images import is_image
from iwae_tf.types import Array

#: With `every="auto"`, the share of the training time that all diagnoses but the last take.
BUDGET = 0.03
#: Observations for log p^ and the signal-to-noise ratio of gradients, which are slow.
SUBSET_SIZE = 100
#: The scalars that the HParams plugin shows.
HPARAMS_METRICS = ("bound", "elbo", "log_likelihood", "effective_sample_size")
#: Lower limit of values in histograms of logarithms.
TINY = 1e-12


class Diagnostics(keras.callbacks.Callback):
    """Writes the diagnostics of the literature to TensorBoard.

    - scalars: `bound` (L_64), `elbo`, `log_likelihood` (log p^), `effective_sample_size`, `noticeable_weights` (the
      number of the 64 weights above 0.01), `kl/layer_l`, `active_units/layer_l`, `gradient_snr/encoder` and `/decoder`;
    - histograms: `log_activity/layer_l`, `log_weights` (normalised), `latent_means/layer_1`;
    - images, for models of images: `samples`, `reconstructions`, and `posteriors` if z is a plane;
    - the HParams plugin: `hparams`, under the name of `log_dir`, with the last values of the first four scalars;
    - the embedding projector, when training ends: means of q(z_1|x) with labels, and the images as sprites.

    Args:
      log_dir: folder of the logs, such as the folder of `keras.callbacks.TensorBoard`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, such as the validation data.
      every: epochs between two diagnoses. `"auto"` diagnoses after the first epoch, then whenever the last diagnosis
        took less than 3 % of the training time since, and after the last epoch.
      num_observations: number of observations of `data` to use, the first ones.
      num_samples: k, the importance samples per observation of log p^.
      labels: `[n]`, classes of the observations, for the projector.
      hparams: the hyperparameters of the training. `None` uses the model's own; an empty dict writes none.
      seed: integer seed of all samples; every epoch uses it anew.

    Raises:
      ValueError: if a number is not a positive integer; when training begins, if there are fewer than two
        observations, or fewer labels than observations.

    Example:
      ```python
      diagnostics = callbacks.Diagnostics("logs", x, num_observations=10, num_samples=10)
      model.fit(x, epochs=1, batch_size=10, callbacks=[diagnostics], verbose=0)
      # tensorboard --logdir logs
      ```
    """

    def __init__(
        self,
        log_dir: str | os.PathLike,
        data: Array | tf.data.Dataset,
        every: int | Literal["auto"] = "auto",
        num_observations: int = 500,
        num_samples: int = 500,
        labels: npt.ArrayLike | None = None,
        hparams: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if every != "auto":
            check_count(every, "every")
        self.log_dir, self.data, self.every, self.seed = Path(log_dir), data, every, seed
        self.num_observations = check_count(num_observations, "num_observations")
        self.num_samples = check_count(num_samples, "num_samples")
        self.labels, self.hparams = None if labels is None else np.asarray(labels), hparams

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._x = inputs.take_rows(self.model, self.data, self.num_observations)
        if len(self._x) < 2:
            raise ValueError(f"Expected at least two observations to diagnose. Received: {len(self._x)}")
        if self.labels is not None and len(self.labels) < len(self._x):
            raise ValueError(f"Expected a label for each of {len(self._x)} observations. Received: {len(self.labels)}")
        self._writer = tf.summary.create_file_writer(str(self.log_dir / "diagnostics"))
        self._seconds, self._end = 0.0, 0.0
        self._epoch: int | None = None
        self._diagnosed: int | None = None
        self._write_hparams()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self._is_due(epoch):
            self._diagnose(epoch)
        self._epoch = epoch

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._epoch is not None and self._diagnosed != self._epoch:
            self._diagnose(self._epoch)
        self._write_embeddings()
        self._writer.close()

    def _is_due(self, epoch: int) -> bool:
        if self.every != "auto":
            return (epoch + 1) % self.every == 0
        return self._diagnosed is None or self._seconds <= BUDGET * (time.perf_counter() - self._end)

    def _diagnose(self, epoch: int) -> None:
        start = time.perf_counter()
        with self._writer.as_default(step=epoch):
            self._write_tables()
            self._write_images()
        self._writer.flush()
        gc.collect()  # Figures refer to themselves, so Python would let hundreds of MiB of them pile up.
        self._end = time.perf_counter()
        self._seconds, self._diagnosed = self._end - start, epoch

    def _write_tables(self) -> None:
        model, x, seed = self.model, self._x, self.seed
        subset = x[:SUBSET_SIZE]
        batches = list(score_batches(model, x, 64, seed))
        log_weights = np.concatenate([terms.log_weights().numpy() for terms in batches], axis=1)
        weights = normalized_weights(log_weights).numpy()
        scalars = {
            "bound": np.mean(log_mean_exp(log_weights)),
            "elbo": log_weights.mean(),
            "effective_sample_size": np.mean(effective_sample_size(log_weights)),
            "noticeable_weights": (weights > NOTICEABLE).sum(0).mean(),
            "log_likelihood": evaluation.log_likelihood(model, subset, self.num_samples, seed).log_likelihood.mean(),
        }
        for i in range(len(model.encoder)):
            kl = [terms.kl_of_layers[i].numpy() for terms in batches]
            scalars[f"kl/layer_{i + 1}"] = np.concatenate(kl, axis=1).mean()
        for row in evaluation.gradient_snr(model, subset, 20, seed=seed).itertuples():
            scalars[f"gradient_snr/{row.network}"] = row.snr
        for layer, units in evaluation.active_units(model, x, seed=seed).groupby("layer"):
            scalars[f"active_units/layer_{layer}"] = units.active.sum()
            tf.summary.histogram(f"log_activity/layer_{layer}", np.log(np.maximum(units.activity, TINY)))
        for name, value in scalars.items():
            tf.summary.scalar(name, float(value))
        tf.summary.histogram("log_weights", np.log(np.maximum(weights, TINY)))
        tf.summary.histogram("latent_means/layer_1", self._means())

    def _means(self) -> np.ndarray:
        """Returns the means of q(z_1|x), `[n, units]`."""
        means = [
            self.model.infer(self.model.posterior(x), (), seed)[0][0].mean().numpy().reshape(len(x), -1)
            for x, seed in preprocess_batches(self.model, self._x, self.seed)
        ]
        return np.concatenate(means)

    def _write_images(self) -> None:
        if not is_image(self.model.event_shape):
            return
        figures = {
            "samples": plots.samples(self.model, 64, self.seed),
            "reconstructions": plots.reconstructions(self.model, self._x[:20], self.seed),
        }
        if self.model.latent_shapes == [(2,)] and not self.model.is_discrete:
            figures["posteriors"] = plots.posteriors({self.model.name: self.model}, self._x[:3], seed=self.seed)
        for name, figure in figures.items():
            tf.summary.image(name, render(figure)[np.newaxis])

    def _write_hparams(self) -> None:
        model = self.model
        hparams = self.hparams
        if hparams is None:
            hparams = {
                "objective": repr(model.objective),
                "num_samples": model.objective.num_particles,
                "depth": len(model.encoder),
                "latent_sizes": ", ".join(str(int(np.prod(shape))) for shape in model.latent_shapes),
                "learning_rate": float(model.optimizer.learning_rate.numpy()),
                "parameters": model.count_params(),
            }
        if hparams:
            with self._writer.as_default():
                write_hparams(str(self.log_dir), hparams, HPARAMS_METRICS)

    def _write_embeddings(self) -> None:
        from tensorboard.plugins import projector

        folder = self.log_dir / "diagnostics"
        means = self._means()
        # The projector needs at least three dimensions.
        means = np.pad(means, [(0, 0), (0, max(0, 3 - means.shape[1]))])
        pd.DataFrame(means).to_csv(folder / "means.tsv", sep="\t", header=False, index=False)
        config = projector.ProjectorConfig()
        embedding = config.embeddings.add(tensor_name="means of q(z_1|x)", tensor_path="means.tsv")
        if self.labels is not None:
            pd.Series(self.labels[: len(means)]).to_csv(folder / "labels.tsv", header=False, index=False)
            embedding.metadata_path = "labels.tsv"
        if len(self.model.event_shape) == 3 and self.model.event_shape[-1] == 1:
            height, width = self.model.event_shape[:2]
            images = np.concatenate([np.asarray(x) for x, _ in preprocess_batches(self.model, self._x)])
            side = int(np.ceil(len(images) ** 0.5))
            sheet = np.zeros((side * side, height, width))
            sheet[: len(images)] = np.clip(images[..., 0], 0, 1)
            sheet = sheet.reshape(side, side, height, width).swapaxes(1, 2).reshape(side * height, side * width)
            image.imsave(folder / "sprites.png", 1 - sheet, cmap="gray", vmin=0, vmax=1)
            embedding.sprite.image_path = "sprites.png"
            embedding.sprite.single_image_dim.extend([width, height])
        projector.visualize_embeddings(str(folder), config)


def render(figure: Figure) -> np.ndarray:
    """Returns a figure as an image, uint8 `[height, width, 3]`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return tf.io.decode_png(buffer.getvalue(), channels=3).numpy()
