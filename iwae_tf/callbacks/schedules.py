"""Schedules over the epochs: of the learning rate, the weight of the KL, and the temperature of relaxed variables."""

import math
from typing import Any, Literal

import keras

from iwae_tf.checks import check_choice, check_count, check_fraction


class BurdaSchedule(keras.callbacks.LearningRateScheduler):
    """The learning-rate schedule of Burda et al. 2015: stage i has 3^i epochs at `initial` x 10^(-i/7).

    Args:
      num_stages: number of stages; the paper's 8 make 3280 epochs.
      initial: learning rate of stage 0.
      **kwargs: as for `keras.callbacks.LearningRateScheduler`.

    Attributes:
      epochs: number of epochs of all stages, to pass to `fit`.

    Raises:
      ValueError: if `num_stages` is not a positive integer.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, section 5.

    Example:
      ```python
      schedule = callbacks.BurdaSchedule(num_stages=2)
      schedule.epochs  # 4
      model.fit(splits.validation, epochs=schedule.epochs, callbacks=[schedule], verbose=0)
      ```
    """

    def __init__(self, num_stages: int = 8, initial: float = 1e-3, **kwargs: Any) -> None:
        check_count(num_stages, "num_stages")
        rates = [initial * 10 ** (-i / 7) for i in range(num_stages) for _ in range(3**i)]
        self.epochs = len(rates)
        super().__init__(lambda epoch, _: rates[min(epoch, len(rates) - 1)], **kwargs)


class CosineSchedule(keras.callbacks.LearningRateScheduler):
    """A learning rate that falls from `initial` towards 0 along a cosine, from epoch to epoch.

    Args:
      epochs: number of epochs of the training.
      initial: learning rate of the first epoch.
      **kwargs: as for `keras.callbacks.LearningRateScheduler`.

    Raises:
      ValueError: if `epochs` is not a positive integer.

    References:
      Loshchilov & Hutter 2017, SGDR, arXiv:1608.03983, without its restarts.

    Example:
      ```python
      schedule = callbacks.CosineSchedule(epochs=2)
      model.fit(x, epochs=2, callbacks=[schedule], verbose=0).history["learning_rate"]  # [0.001, 0.0005]
      ```
    """

    def __init__(self, epochs: int, initial: float = 1e-3, **kwargs: Any) -> None:
        check_count(epochs, "epochs")
        super().__init__(lambda epoch, _: initial * (1 + math.cos(math.pi * min(epoch / epochs, 1))) / 2, **kwargs)


class WarmUp(keras.callbacks.Callback):
    """Raises the weight of the KL, `model.kl_weight`, from `start` to 1 over the first epochs.

    The weight is set when an epoch begins and holds for all its steps. With epochs counted from 0, `"linear"` gives
    epoch e the weight start + (1 - start) e / epochs, and epoch `epochs` and all later ones exactly 1. `"cyclical"`
    divides the epochs into cycles; each rises from `start` to 1 in its first half and stays at 1 in its second. If
    `fit` ends earlier, the weight stays, and the next `fit` continues from its `initial_epoch`.

    It works with every objective: for k > 1 samples it gives the importance-weighted bound of the tempered joint. The
    logged `loss` includes the weight; `elbo`, `kl` and the metrics of validation data do not. The logs have `kl_weight`
    as well.

    Args:
      epochs: epochs of the warm-up.
      start: weight of the first epoch, in [0, 1].
      schedule: `"linear"` or `"cyclical"`.
      cycles: number of cycles of the cyclical schedule; each takes at least two epochs.

    Raises:
      ValueError: if `epochs` or `cycles` is not a positive integer, `start` is outside [0, 1], `schedule` is unknown,
        or there are fewer than two epochs for each cycle.

    References:
      Bowman et al. 2016, arXiv:1511.06349; Sønderby et al. 2016, arXiv:1602.02282; Fu et al. 2019, arXiv:1903.10145
      (cyclical; the defaults, 4 cycles that rise for one half, are theirs).

    Example:
      ```python
      history = model.fit(x, epochs=2, callbacks=[callbacks.WarmUp(2)], verbose=0).history
      history["kl_weight"]  # [0.0, 0.5]
      ```
    """

    def __init__(
        self, epochs: int, start: float = 0.0, schedule: Literal["linear", "cyclical"] = "linear", cycles: int = 4
    ) -> None:
        super().__init__()
        self.epochs = check_count(epochs, "epochs")
        self.start = check_fraction(start, "start")
        self.schedule = check_choice(schedule, "schedule", ("linear", "cyclical"))
        self.cycles = check_count(cycles, "cycles")
        if schedule == "cyclical" and epochs < 2 * cycles:
            raise ValueError(f"Expected at least two epochs per cycle. Received: epochs={epochs}, cycles={cycles}")

    def weight(self, epoch: int) -> float:
        """Returns the weight of an epoch, counted from 0."""
        progress = epoch / self.epochs
        if self.schedule == "cyclical" and epoch < self.epochs:
            # Whole numbers until the division make every cycle the same.
            progress = 2 * (epoch * self.cycles % self.epochs) / self.epochs
        return 1.0 if progress >= 1 else self.start + (1.0 - self.start) * progress

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.model.kl_weight.assign(self.weight(epoch))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["kl_weight"] = self.weight(epoch)


class Temperature(keras.callbacks.Callback):
    """Lowers the temperature of all relaxed variables of a model from epoch to epoch.

    With epochs counted from 0, epoch e has the temperature start (end / start)^(e / epochs), and epoch `epochs` and all
    later ones exactly `end`. It applies to q and p alike. If `fit` ends earlier, the temperature stays, and the next
    `fit` continues from its `initial_epoch`. The logs have `temperature` as well.

    Args:
      epochs: epochs until the temperature is `end`.
      start: temperature of the first epoch.
      end: temperature at the end.

    Raises:
      ValueError: if `epochs` is not a positive integer, or a temperature is not a positive number; when training
        begins, if the model has no relaxed variables.

    References:
      Jang, Gu & Poole 2017, arXiv:1611.01144, section 4 (exponential annealing).

    Example:
      ```python
      relaxed = iwae_tf.mlp((8, 8, 1), (4,), ((16,),), posterior="relaxed-bernoulli", preprocessing=layers.Grey())
      relaxed.compile("adam")
      history = relaxed.fit(x, epochs=2, callbacks=[callbacks.Temperature(2)], verbose=0).history
      history["temperature"]  # [1.0, 0.707], then 0.5
      ```
    """

    def __init__(self, epochs: int, start: float = 1.0, end: float = 0.5) -> None:
        super().__init__()
        self.epochs = check_count(epochs, "epochs")
        for name, value in (("start", start), ("end", end)):
            if not 0 < value < math.inf:
                raise ValueError(f"Expected {name} to be a positive number. Received: {name}={value!r}")
        self.start, self.end = float(start), float(end)

    def temperature(self, epoch: int) -> float:
        """Returns the temperature of an epoch, counted from 0."""
        return self.end if epoch >= self.epochs else self.start * (self.end / self.start) ** (epoch / self.epochs)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if not self.model.temperatures:
            raise ValueError("Expected a model with relaxed variables, such as layers.RelaxedBernoulli. Received: none")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        for variable in self.model.temperatures:
            variable.assign(self.temperature(epoch))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["temperature"] = self.temperature(epoch)
