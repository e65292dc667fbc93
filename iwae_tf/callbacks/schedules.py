"""What changes from epoch to epoch: the learning rate and the weight of the KL."""

import keras

from iwae_tf.checks import check_choice, check_count, check_fraction


class BurdaSchedule(keras.callbacks.LearningRateScheduler):
    """The learning-rate schedule of Burda et al. 2015: stage i has 3^i epochs at `initial` x 10^(-i/7).

    Args:
      num_stages: stages to train for; the paper's 8 make 3280 epochs.
      initial: learning rate of stage 0.
      **kwargs: as for `keras.callbacks.LearningRateScheduler`.

    Attributes:
      epochs: number of epochs of all stages, what `fit` is to be given.

    Raises:
      ValueError: if `num_stages` is below 1.

    References:
      Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519, section 5.
    """

    def __init__(self, num_stages=8, initial=1e-3, **kwargs):
        check_count(num_stages, "num_stages")
        rates = [initial * 10 ** (-i / 7) for i in range(num_stages) for _ in range(3**i)]
        self.epochs = len(rates)
        super().__init__(lambda epoch, _: rates[min(epoch, len(rates) - 1)], **kwargs)


class WarmUp(keras.callbacks.Callback):
    """Raises the weight of the KL, `model.kl_weight`, from `start` to 1 over the first epochs.

    The weight is set when an epoch begins and holds for all its steps, so that it does not depend on how many of them
    run as one program. With epochs counted from 0, `"linear"` gives epoch e the weight start + (1 - start) e / epochs,
    and epoch `epochs` and all later ones exactly 1. `"cyclical"` divides the epochs into cycles, each of which rises
    from `start` to 1 in its first half and stays there in its second. When `fit` ends earlier, so does the warm-up: the
    weight stays what it was, and the next `fit` goes on from its `initial_epoch`.

    It applies to every objective: for k > 1 samples it makes the importance-weighted bound of the tempered joint. The
    logged `loss` has the weight in it, `elbo`, `kl` and what is logged of validation data do not, and `kl_weight` is
    logged beside them.

    Args:
      epochs: epochs of the warm-up.
      start: weight of the first of them, in [0, 1].
      schedule: `"linear"` or `"cyclical"`.
      cycles: number of cycles of the cyclical schedule; each takes at least two epochs.

    Raises:
      ValueError: if `epochs` or `cycles` is no integer of at least 1, `start` leaves [0, 1], `schedule` is neither, or
        there are fewer than two epochs for each cycle.

    References:
      Bowman et al. 2016, arXiv:1511.06349; Sønderby et al. 2016, arXiv:1602.02282; Fu et al. 2019, arXiv:1903.10145
      (cyclical, of which 4 cycles and a half are the defaults).
    """

    def __init__(self, epochs, start=0.0, schedule="linear", cycles=4):
        super().__init__()
        self.epochs = check_count(epochs, "epochs")
        self.start = check_fraction(start, "start")
        self.schedule = check_choice(schedule, "schedule", ("linear", "cyclical"))
        self.cycles = check_count(cycles, "cycles")
        if schedule == "cyclical" and epochs < 2 * cycles:
            raise ValueError(f"Expected at least two epochs per cycle. Received: epochs={epochs}, cycles={cycles}")

    def weight(self, epoch):
        """Returns the weight of an epoch, counted from 0."""
        done = epoch / self.epochs
        if self.schedule == "cyclical" and epoch < self.epochs:
            # Whole numbers until the division, so that every cycle is the same.
            done = 2 * (epoch * self.cycles % self.epochs) / self.epochs
        return 1.0 if done >= 1 else self.start + (1.0 - self.start) * done

    def on_epoch_begin(self, epoch, logs=None):
        self.model.kl_weight.assign(self.weight(epoch))

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["kl_weight"] = self.weight(epoch)
