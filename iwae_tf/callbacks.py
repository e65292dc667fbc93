"""Keras callbacks."""

import keras


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
        if num_stages < 1:
            raise ValueError(f"Expected num_stages to be at least 1. Received: {num_stages}")
        rates = [initial * 10 ** (-i / 7) for i in range(num_stages) for _ in range(3**i)]
        self.epochs = len(rates)
        super().__init__(lambda epoch, _: rates[min(epoch, len(rates) - 1)], **kwargs)
