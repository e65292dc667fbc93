"""Hyperparameters and metrics for the HParams plugin of TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any


def write_hparams(name: str, hparams: Mapping[str, Any], metrics: Sequence[str]) -> None:
    """Writes the hyperparameters of a training to the current default writer of `tf.summary`.

    Args:
      name: the name under which HParams shows the training; trainings of one name are shown as one.
      hparams: the hyperparameters. A value that is not a number, string or bool is written as a string, and `None` is
        left out.
      metrics: tags of the scalars whose last values HParams shows. A folder in front, as in `"validation/epoch_elbo"`,
        is a folder below the writer's.
    """
    from tensorboard.plugins.hparams import api

    values = {
        key: value if isinstance(value, (bool, int, float, str)) else str(value)
        for key, value in hparams.items()
        if value is not None
    }
    tags = (metric.rpartition("/") for metric in metrics)
    columns = [api.Metric(tag, group, metric) for metric, (group, _, tag) in zip(metrics, tags, strict=True)]
    api.hparams_config([api.HParam(key) for key in hparams], columns)
    api.hparams(values, trial_id=name)
