"""An importance-weighted autoencoder as a scikit-learn estimator."""

import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from iwae_tf import builders, data, objectives, random
from iwae_tf.checks import check_count
from iwae_tf.data.column_inference import KindName
from iwae_tf.types import Sizes


class IWAEEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, BaseEstimator):
    """Density estimator, dimensionality reduction and novelty detector in scikit-learn's API.

    The rows of X have columns of numbers or, in a frame, of any kind that `data.from_dataframe` knows; values may be
    missing. Columns are standardised inside the model, so no scaler is needed before it.

    Args:
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each z_l, the widths of the hidden layers; see `tabular`.
      objective: name of the objective; see `objectives.NAMES`.
      num_samples: k of the objective.
      likelihood_samples: k of the log-likelihoods that `score_samples` returns.
      columns: dict from names of columns to their kinds, for columns whose kind should not be inferred.
      epochs: passes over the data.
      batch_size: rows per step.
      learning_rate: learning rate of Adam.
      contamination: fraction of the training rows that `predict` marks as outliers, in (0, 0.5].
      random_state: an integer, a `RandomState` or `None`: seed of the weights, the order of rows, and all draws.

    Attributes:
      model_: the fitted `IWAE`.
      columns_: tuple of `layers.Column`.
      offset_: log-likelihood below which a row is an outlier, in nats.
      n_features_in_: number of columns.
      feature_names_in_: names of the columns, for frames whose names are strings.

    Example:
      ```python
      estimator = iwae_tf.IWAEEstimator(latent_sizes=(2,), hidden_sizes=((16,),), epochs=2, random_state=0)
      X = np.random.default_rng(0).normal(size=(60, 4))
      estimator.fit(X).score_samples(X)  # [60], in nats
      estimator.predict(X)  # -1 for outliers, 1 for other rows
      estimator.transform(X)  # [60, 2]: means of q(z_1|x)
      ```
    """

    def __init__(
        self,
        latent_sizes: Sizes = (10,),
        hidden_sizes: tuple[tuple[int, ...], ...] | None = None,
        objective: str = "iwae",
        num_samples: int = 20,
        likelihood_samples: int = 500,
        columns: dict[str | int, KindName] | None = None,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        contamination: float = 0.1,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.latent_sizes = latent_sizes
        self.hidden_sizes = hidden_sizes
        self.objective = objective
        self.num_samples = num_samples
        self.likelihood_samples = likelihood_samples
        self.columns = columns
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.contamination = contamination
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike | pd.DataFrame, y: object = None) -> "IWAEEstimator":  # noqa: N803
        """Fits the model to rows.

        Args:
          X: rows `[n, columns]`, an array of numbers or a frame; NaN is a missing value.
          y: ignored.

        Returns:
          The estimator.

        Raises:
          ValueError: if X is not a matrix, has no rows or infinite values, or an argument is out of its range.
        """
        if not 0 < self.contamination <= 0.5:
            raise ValueError(f"contamination must be in (0, 0.5]. Received: contamination={self.contamination}")
        for name in ("likelihood_samples", "epochs", "batch_size"):
            check_count(getattr(self, name), name)
        frame = self._as_frame(X, reset=True)
        table = data.from_dataframe(frame, self.columns)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.columns_ = table.columns
        self.model_ = builders.tabular(
            table,
            self.latent_sizes,
            self.hidden_sizes,
            objective=objectives.get(self.objective, self.num_samples),
            seed=seed,
        )
        self.model_.compile(keras.optimizers.Adam(self.learning_rate))
        self.model_.fit(table.array, batch_size=self.batch_size, epochs=self.epochs, verbose=0)
        self._n_features_out = int(np.prod(self.model_.latent_shapes[0]))
        self.offset_ = float(np.quantile(self._score(table.array), self.contamination))
        return self

    def score_samples(self, X: npt.ArrayLike | pd.DataFrame) -> np.ndarray:  # noqa: N803
        """Returns log p(x) of each row, `[n]`, in nats; a row has the same score in every call and every batch."""
        return self._score(self._encode(X))

    def score(self, X: npt.ArrayLike | pd.DataFrame, y: object = None) -> float:  # noqa: N803
        """Returns the mean log-likelihood of the rows, in nats."""
        return float(self.score_samples(X).mean())

    def decision_function(self, X: npt.ArrayLike | pd.DataFrame) -> np.ndarray:  # noqa: N803
        """Returns log p(x) less `offset_`, `[n]`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: npt.ArrayLike | pd.DataFrame) -> np.ndarray:  # noqa: N803
        """Returns -1 for outliers and 1 for other rows, `[n]`."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def transform(self, X: npt.ArrayLike | pd.DataFrame) -> np.ndarray:  # noqa: N803
        """Returns the means of q(z_1|x), `[n, units of z_1]`; see `encode` of `IWAE`."""
        x = self._encode(X)
        return self.model_.encode(x).mean().numpy().reshape(len(x), -1)

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draws rows from the model, `[n_samples, columns]`; categories are codes, which `data.tables.decode` reads."""
        check_is_fitted(self)
        check_count(n_samples, "n_samples")
        seed = random.as_seed(int(check_random_state(random_state).randint(2**31 - 1)))
        return self.model_.descend(n_samples, seed)[0].sample(seed=random.fold_in(seed, 1000)).numpy()

    def _score(self, x: np.ndarray) -> np.ndarray:
        return self.model_.log_likelihood(x, self.likelihood_samples, seed=0).numpy().astype(np.float64)

    def _encode(self, X: npt.ArrayLike | pd.DataFrame) -> np.ndarray:  # noqa: N803
        """Returns checked rows as numbers, `[n, columns]`."""
        check_is_fitted(self)
        return data.tables.encode(self._as_frame(X, reset=False), self.columns_)

    def _as_frame(self, X: npt.ArrayLike | pd.DataFrame, reset: bool) -> pd.DataFrame:  # noqa: N803
        """Checks rows as scikit-learn does, and returns them as a frame."""
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        array = validate_data(self, X, reset=reset, ensure_all_finite="allow-nan", dtype="numeric")
        return pd.DataFrame(array)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
