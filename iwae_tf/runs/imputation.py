"""Imputation of a file by the model of a run."""

import os
from pathlib import Path

from iwae_tf import data
from iwae_tf.checks import check_count
from iwae_tf.files import check_absent, write_whole
from iwae_tf.runs.evaluation import load_model
from iwae_tf.scoring.readers import read_frame


def impute(
    run: str | os.PathLike,
    source: str | os.PathLike,
    destination: str | os.PathLike,
    num_samples: int = 1000,
    seed: int = 0,
    overwrite: bool = False,
) -> int:
    """Fills in the missing values of a table in a file; columns that the model does not have stay as they are.

    Args:
      run: a run folder with the model of a table.
      source: a .csv or .parquet file, or a folder of such files, with the model's columns.
      destination: .csv or .parquet file to write, with the columns and rows of `source`.
      num_samples: k, samples per row; see `IWAE.impute`.
      seed: integer seed.
      overwrite: whether to replace an existing file.

    Returns:
      The number of values that were filled in.

    Raises:
      FileExistsError: if `destination` exists and `overwrite` is false.
      FileNotFoundError: if `run` is not a run folder, or `source` does not exist.
      ValueError: if the model is not one of a table, the file lacks its columns or is of another kind.

    Example:
      ```python
      frame = pd.DataFrame({"age": [30, 41, None, 58] * 3, "town": ["York", None, "Hull", "Hull"] * 3})
      frame.to_csv("people.csv", index=False)
      config = runs.Config(data="people.csv", latent_sizes=(2,), num_samples=5, epochs=1, test_samples=10)
      runs.train(config, "runs/people", verbose=0)
      runs.impute("runs/people", "people.csv", "complete.csv", num_samples=10)  # 6
      ```
    """
    destination = Path(destination)
    if destination.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(f"Expected a file that ends in .csv or .parquet. Received: {destination}")
    check_count(num_samples, "num_samples")
    check_absent(destination, overwrite)
    frame = read_frame(source)
    model = load_model(run)
    columns = getattr(model.decoder[-1], "columns", ())
    if not columns:
        raise ValueError(f"Expected the run of a table. Received: {run}")
    filled = data.tables.decode(model.impute(frame, num_samples, seed), columns, frame.index)
    names = {str(name): name for name in frame}
    count = 0
    for column in columns:
        name = names[str(column.name)]
        missing = frame[name].isna()
        count += int(missing.sum())
        frame[name] = frame[name].where(~missing, filled[column.name])
    with write_whole(destination, overwrite) as path:
        if destination.suffix.lower() == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
    return count
