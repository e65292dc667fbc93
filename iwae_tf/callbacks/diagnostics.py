"""Diagnostics in TensorBoard while a model trains."""

import gc
import io
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib import image

from iwae_tf import evaluation, plots
from iwae_tf.checks import check_count
from iwae_tf.data import inputs
from iwae_tf.evaluation.batches import preprocess_batches, score_batches
from iwae_tf.evaluation.importance_weights import NOTICEABLE
from iwae_tf.log_weights import effective_sample_size, log_mean_exp, normalized_weights

#: Share of the time of training that diagnostics take, but for the last, when they choose their epochs themselves.
BUDGET = 0.03
#: Observations that the gradients' signal-to-noise ratio and log p^ are taken of, which cost most.
FEW = 100
#: What is less counts as this in histograms of logarithms.
TINY = 1e-12


class Diagnostics(keras.callbacks.Callback):
    """Writes what the literature looks at to TensorBoard: scalars, histograms, images, hyperparameters, embeddings.

    - scalars: `bound` (L_64), `elbo`, `log_likelihood` (log p^), `effective_sample_size`, `noticeable_weights` (of
      the 64, how many are above 0.01), `kl/layer_l`, `active_units/layer_l`, `gradient_snr/encoder` and `/decoder`;
    - histograms: `log_activity/layer_l`, `log_weights` (normalised), `latent_means/layer_1`;
    - images, of models of images: `samples`, `reconstructions`, and `posteriors` where z is a plane;
    - the HParams plugin: `hparams`, with the last log p^ as the metric;
    - the embedding projector, when training ends: means of q(z_1|x) with labels, and the images as sprites.

    Args:
      log_dir: folder of the logs, such as that of `keras.callbacks.TensorBoard`.
      data: array `[n, *event_shape]` or `tf.data.Dataset` of batches, such as the validation data.
      every: epochs between two diagnoses. `"auto"` diagnoses after the first epoch, then whenever the last diagnosis
        took less than 3 % of the training since, and after the last epoch.
      num_observations: observations of `data` that are looked at, the first ones.
      num_samples: samples per observation of log p^.
      labels: `[n]`, classes of the observations, for the projector.
      hparams: dict of numbers, strings and bools. `None` takes what the model says of itself.
      seed: integer seed of everything drawn, the same in every epoch.

    Raises:
      ValueError: if a number is no integer of at least 1; when training begins, if there are fewer than two
        observations, or fewer labels than observations.
    """

    def __init__(
        self, log_dir, data, every="auto", num_observations=500, num_samples=500, labels=None, hparams=None, seed=0
    ):  # fmt: skip
        super().__init__()
        if every != "auto":
            check_count(every, "every")
        self.log_dir, self.data, self.every, self.seed = Path(log_dir), data, every, seed
        self.num_observations = check_count(num_observations, "num_observations")
        self.num_samples = check_count(num_samples, "num_samples")
        self.labels, self.hparams = labels, hparams

    # ------------------------------------------------------------------------------------------ when

    def on_train_begin(self, logs=None):
        self._x = inputs.first_rows(self.model, self.data, self.num_observations)
        if len(self._x) < 2:
            raise ValueError(f"Expected at least two observations to diagnose. Received: {len(self._x)}")
        if self.labels is not None and len(self.labels) < len(self._x):
            raise ValueError(f"Expected a label for each of {len(self._x)} observations. Received: {len(self.labels)}")
        self._writer = tf.summary.create_file_writer(str(self.log_dir / "diagnostics"))
        self._took, self._end, self._done = 0.0, 0.0, None
        self._write_hparams()

    def on_epoch_end(self, epoch, logs=None):
        if self._is_due(epoch):
            self._diagnose(epoch)
        self._epoch = epoch

    def on_train_end(self, logs=None):
        epoch = getattr(self, "_epoch", None)
        if epoch is not None and self._done != epoch:
            self._diagnose(epoch)
        self._write_embeddings()
        self._writer.close()

    def _is_due(self, epoch):
        if self.every != "auto":
            return (epoch + 1) % self.every == 0
        return self._done is None or self._took <= BUDGET * (time.perf_counter() - self._end)

    def _diagnose(self, epoch):
        start = time.perf_counter()
        with self._writer.as_default(step=epoch):
            self._write_tables()
            self._write_images()
        self._writer.flush()
        gc.collect()  # Figures are circles of objects, which Python would let pile up to hundreds of MiB.
        self._end = time.perf_counter()
        self._took, self._done = self._end - start, epoch

    # ------------------------------------------------------------------------------------------ what

    def _write_tables(self):
        model, x, seed = self.model, self._x, self.seed
        few = x[:FEW]
        drawn = list(score_batches(model, x, 64, seed))
        log_weights = np.concatenate([part.log_weights().numpy() for part in drawn], axis=1)
        weights = normalized_weights(log_weights).numpy()
        scalars = {
            "bound": np.mean(log_mean_exp(log_weights)),
            "elbo": log_weights.mean(),
            "effective_sample_size": np.mean(effective_sample_size(log_weights)),
            "noticeable_weights": (weights > NOTICEABLE).sum(0).mean(),
            "log_likelihood": evaluation.log_likelihood(model, few, self.num_samples, seed).log_likelihood.mean(),
        }
        for i in range(len(model.encoder)):
            parts = [part.kl_of_layers[i].numpy() for part in drawn]
            scalars[f"kl/layer_{i + 1}"] = np.concatenate(parts, axis=1).mean()
        for row in evaluation.gradient_snr(model, few, 20, seed=seed).itertuples():
            scalars[f"gradient_snr/{row.network}"] = row.snr
        for layer, units in evaluation.active_units(model, x, seed=seed).groupby("layer"):
            scalars[f"active_units/layer_{layer}"] = units.active.sum()
            tf.summary.histogram(f"log_activity/layer_{layer}", np.log(np.maximum(units.activity, TINY)))
        for name, value in scalars.items():
            tf.summary.scalar(name, float(value))
        tf.summary.histogram("log_weights", np.log(np.maximum(weights, TINY)))
        tf.summary.histogram("latent_means/layer_1", self._means())
        self._last = {name: float(value) for name, value in scalars.items()}

    def _means(self):
        """Returns the means of q(z_1|x), `[n, units]`."""
        parts = [
            self.model.infer(self.model.posterior(seen), (), seed)[0][0].mean().numpy().reshape(len(seen), -1)
            for seen, seed in preprocess_batches(self.model, self._x, self.seed)
        ]
        return np.concatenate(parts)

    def _write_images(self):
        if len(self.model.event_shape) not in (2, 3) or self.model.event_shape[2:] not in ((), (1,), (3,)):
            return
        figures = {
            "samples": plots.samples(self.model, 64, self.seed),
            "reconstructions": plots.reconstructions(self.model, self._x[:20], self.seed),
        }
        if self.model.latent_shapes == [(2,)]:
            figures["posteriors"] = plots.posteriors({self.model.name: self.model}, self._x[:3], seed=self.seed)
        for name, figure in figures.items():
            tf.summary.image(name, pixels(figure)[np.newaxis])

    def _write_hparams(self):
        from tensorboard.plugins.hparams import api

        model = self.model
        found = self.hparams or {
            "objective": repr(model.objective),
            "num_samples": model.objective.num_particles,
            "depth": len(model.encoder),
            "latent_sizes": ", ".join(str(int(np.prod(shape))) for shape in model.latent_shapes),
            "learning_rate": float(model.optimizer.learning_rate.numpy()),
            "parameters": model.count_params(),
        }
        with self._writer.as_default():
            api.hparams_config([api.HParam(name) for name in found], [api.Metric("log_likelihood")])
            api.hparams(found)

    def _write_embeddings(self):
        from tensorboard.plugins import projector

        folder = self.log_dir / "diagnostics"
        means = self._means()
        # The projector shows nothing of what has fewer than three dimensions.
        means = np.pad(means, [(0, 0), (0, max(0, 3 - means.shape[1]))])
        pd.DataFrame(means).to_csv(folder / "means.tsv", sep="\t", header=False, index=False)
        config = projector.ProjectorConfig()
        embedding = config.embeddings.add(tensor_name="means of q(z_1|x)", tensor_path="means.tsv")
        if self.labels is not None:
            pd.Series(self.labels[: len(means)]).to_csv(folder / "labels.tsv", header=False, index=False)
            embedding.metadata_path = "labels.tsv"
        if len(self.model.event_shape) == 3 and self.model.event_shape[-1] == 1:
            height, width = self.model.event_shape[:2]
            seen = np.concatenate([np.asarray(x) for x, _ in preprocess_batches(self.model, self._x)])
            side = int(np.ceil(len(seen) ** 0.5))
            sheet = np.zeros((side * side, height, width))
            sheet[: len(seen)] = np.clip(seen[..., 0], 0, 1)
            sheet = sheet.reshape(side, side, height, width).swapaxes(1, 2).reshape(side * height, side * width)
            image.imsave(folder / "sprites.png", 1 - sheet, cmap="gray", vmin=0, vmax=1)
            embedding.sprite.image_path = "sprites.png"
            embedding.sprite.single_image_dim.extend([width, height])
        projector.visualize_embeddings(str(folder), config)


def pixels(figure):
    """Returns a figure as an image, uint8 `[height, width, 3]`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return tf.io.decode_png(buffer.getvalue(), channels=3).numpy()
