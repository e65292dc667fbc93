"""The data of a run: a data set by its name, or a file of one's own."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from iwae_tf import data
from iwae_tf.checks import as_sizes
from iwae_tf.data.inputs import as_array
from iwae_tf.layers import Column
from iwae_tf.runs.config import Config
from iwae_tf.scoring.readers import read
from iwae_tf.scoring.writer import check_id_column

#: The part of a file's rows that validates, and the part that tests.
FRACTION = 0.1


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
      config: the configuration; that of a file has the likelihood that fits its values.
      splits: training, validation and test data.
      columns: the columns of a table; none for other data.
      ignored_columns: names of the columns of the file that are not modelled.
      identifiers: values of the `id_column`, or names of images, for the rows of the test data; `None` without them.
      description: the data and the likelihood in words.
    """

    config: Config
    splits: data.Splits
    columns: tuple[Column, ...] = ()
    ignored_columns: tuple[str, ...] = ()
    identifiers: np.ndarray | None = None
    description: str = ""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return self.splits.event_shape

    @property
    def mean(self) -> np.ndarray:
        """Mean of the training data."""
        return self.splits.mean


def load(config: Config, data_dir: str | os.PathLike | None = None) -> RunData:
    """Loads the data set or the file of a configuration.

    A tenth of the rows of a file validates and another tenth tests, chosen at random by the seed.

    Args:
      config: the configuration.
      data_dir: folder of prepared TFDS data; `None` is the configuration's.

    Raises:
      FileNotFoundError: if the data set or the file is not available.
      TypeError: if a column holds anything but numbers, bools and strings.
      ValueError: if the file is damaged, lacks a column, has fewer than 6 rows, its values have no likelihood, or
        options contradict each other.
    """
    if config.data is None:
        splits = data.load(config.dataset, config.batch_size, data_dir or config.data_dir, config.seed)
        return RunData(config, splits, description=f"{config.dataset}; likelihood: {config.likelihood or 'bernoulli'}")
    rows, names = read(config.data, config.limit)
    ignored: tuple[str, ...] = ()
    labels = None
    if isinstance(rows, pd.DataFrame):
        rows, names, labels, ignored = _select_columns(rows, config)
    elif config.columns or config.id_column or config.target:
        raise ValueError(f"Expected a .csv or .parquet file, which has columns. Received: {config.data}")
    config = dataclasses.replace(config, likelihood=config.likelihood or choose_likelihood(rows))
    columns: tuple[Column, ...] = ()
    if config.likelihood == "table":
        if config.event_shape is not None:
            raise ValueError(f"Expected no event_shape for a table. Received: event_shape={config.event_shape}")
        table = data.from_dataframe(rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows))
        array, columns = table.array, table.columns
    else:
        array = _as_observations(as_array(rows), config.event_shape)
        _check_range(array, config)
    train, validation, test = _split(len(array), config.seed)
    splits = data.from_arrays(
        array[train], array[validation], array[test], config.batch_size, config.seed, incomplete=bool(columns)
    )
    if labels is not None:
        splits = dataclasses.replace(splits, test_labels=labels[test], validation_labels=labels[validation])
    description = (
        f"{config.data}: {len(train)} rows to train on, {len(validation)} to validate, {len(test)} to test; "
        f"{_describe(array, columns)}; likelihood: {config.likelihood}"
    )
    identifiers = None if names is None else names[test]
    return RunData(config, splits, columns, ignored, identifiers, description)


def _select_columns(
    frame: pd.DataFrame, config: Config
) -> tuple[pd.DataFrame, np.ndarray | None, np.ndarray | None, tuple[str, ...]]:
    """Returns the columns to model, the id column as text, the target, and the names of the columns left out."""
    frame = frame.rename(columns=str)
    check_id_column(config.id_column)
    left_out = [name for name in (config.id_column, config.target) if name is not None]
    wanted = config.columns or [name for name in frame if name not in left_out]
    absent = [name for name in (*wanted, *left_out) if name not in frame]
    if absent:
        raise ValueError(f"Expected columns {absent} in {config.data}. Received: {list(frame)}")
    if both := [name for name in left_out if name in wanted]:
        raise ValueError(f"Expected columns without the id_column and the target. Received: {both} among {wanted}")
    # Rows of a model without named columns are scored in the order of the file.
    names = [name for name in frame if name in wanted]
    identifiers = frame[config.id_column].astype(str).to_numpy() if config.id_column else None
    labels = frame[config.target].to_numpy() if config.target else None
    others = tuple(str(name) for name in frame if name not in names and name != config.id_column)
    return frame[names], identifiers, labels, others


def choose_likelihood(rows: np.ndarray | pd.DataFrame) -> str:
    """Returns the name of the likelihood that fits the values of a file.

    | rows | likelihood |
    |---|---|
    | a frame | `table`: of each column its own |
    | 0 and 1, or uint8 of 0 and 255 | `bernoulli` |
    | images of uint8 | `logistic` |
    | floats in [0, 1] | `continuous-bernoulli` |
    | other rows of numbers, `[n, columns]` | `table` |

    Args:
      rows: a frame, or an array `[n, *event_shape]`.

    Raises:
      ValueError: if the values are none of these.
    """
    if isinstance(rows, pd.DataFrame):
        return "table"
    if np.isnan(rows).all():
        raise ValueError("Expected numbers. Received: missing values only")
    low, high = np.nanmin(rows), np.nanmax(rows)
    distinct = set(np.unique(rows).tolist()) if high in (1, 255) else set()
    if distinct and (distinct <= {0, 1} or (rows.dtype == np.uint8 and distinct <= {0, 255})):
        return "bernoulli"
    if rows.dtype == np.uint8:
        return "logistic"
    if low >= 0 and high <= 1 and not np.isnan(rows).any():
        return "continuous-bernoulli"
    if rows.ndim == 2:
        return "table"
    raise ValueError(
        "Expected images of uint8 or of floats in [0, 1], or rows of numbers [n, columns]. "
        f"Received: {rows.dtype} of shape {list(rows.shape)} in [{low:g}, {high:g}]"
    )


def _as_observations(array: np.ndarray, event_shape: Sequence[int] | None) -> np.ndarray:
    """Returns an array as observations: whole numbers from 0 to 255 as uint8, and grey images with one channel."""
    if array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:
        array = array.astype(np.uint8)
    if event_shape is not None:
        size = int(np.prod(as_sizes(event_shape)))
        if size != np.prod(array.shape[1:]):
            raise ValueError(f"Expected rows of {size} values, as event_shape says. Received: {list(array.shape[1:])}")
        return array.reshape(-1, *event_shape)
    return array[..., np.newaxis] if array.ndim == 3 else array


def _check_range(array: np.ndarray, config: Config) -> None:
    """Raises a `ValueError` unless the likelihoods of grey and binary values can have the values."""
    if array.dtype in (np.uint8, np.bool_):
        return
    low, high = np.nanmin(array), np.nanmax(array)
    if array.dtype.kind != "f" or low < 0 or high > 1 or np.isnan(array).any():
        raise ValueError(
            f"Expected uint8, or floats in [0, 1] without missing values, for likelihood {config.likelihood!r}. "
            f"Received: {array.dtype} in [{low:g}, {high:g}]; 'table' (--likelihood table) models all numbers"
        )


def _split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the numbers of the rows that train, that validate and that test, each in the order of the file."""
    if count < 6:
        raise ValueError(f"Expected at least 6 rows: 2 each to train, to validate and to test. Received: {count}")
    rows, size = np.random.default_rng(seed).permutation(count), max(round(FRACTION * count), 2)
    validation, test, train = np.split(rows, [size, 2 * size])
    return np.sort(train), np.sort(validation), np.sort(test)


def _describe(array: np.ndarray, columns: Sequence[Column]) -> str:
    if not columns:
        return f"{array.dtype} of shape {array.shape[1:]}"
    named = ", ".join(f"{column.name} ({column.kind})" for column in columns[:10])
    return f"{len(columns)} columns: {named}{', ...' if len(columns) > 10 else ''}"
