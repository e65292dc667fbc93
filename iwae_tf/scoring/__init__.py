"""Scores of files by an exported SavedModel, without iwae_tf's models."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import tqdm

from iwae_tf.checks import check_count
from iwae_tf.scoring import endpoint, sources, writer
from iwae_tf.scoring.writer import Summary

__all__ = ["Summary", "score"]

#: The first row that can be scored must be among these, or scoring stops: the source then does not match the model.
MAX_REJECTED_FIRST = 1000


def score(
    saved_model: str | os.PathLike,
    source: str | os.PathLike,
    destination: str | os.PathLike,
    batch_size: int = 100,
    overwrite: bool = False,
    verbose: int = 0,
    header: bool | None = None,
    id_column: str | None = None,
    ignored_columns: Sequence[str] = (),
) -> Summary:
    """Scores every row of a file or folder with the `log_likelihood` endpoint of a SavedModel.

    The source is read in pieces, in memory that does not grow with it. Rows that cannot be read, or do not match the
    model's input, are listed with their reasons in `<destination>.rejected.csv`. Unfinished scores are kept in
    `<destination>.part`; after a kill or an interrupt the same call resumes behind them.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.
      source: .npy; .npz (the array named `x`, or the only one); .csv or .parquet with one row per observation, its
        values in row-major order in numeric columns, or in columns with the names of a model of a table, whose
        categories are labels, or codes 0, 1, ... if no label is a number;
        .tfrecord of `tf.train.Example` with a feature `x`; a folder of such files of one kind, read in the order of
        their names; or a folder of PNG and JPEG images.
      destination: .csv or .parquet to write, in the order of `source`: `row`, the number in the source from 0 on (for
        images `file`), the `id_column` if there is one, `log_likelihood` and `standard_error` in nats,
        `effective_sample_size`.
      batch_size: observations scored at once; the scores do not depend on it.
      overwrite: whether to replace an existing file, or unfinished scores of another model or source.
      verbose: 1 shows a progress bar.
      header: whether a .csv file begins with a header. `None` decides by its first lines.
      id_column: name of the column of a .csv or .parquet file that identifies its rows; it is copied, as text, to the
        scores. `None` is the column that the export names, if the file has it.
      ignored_columns: names of columns of such files to leave out, besides those that the export names.

    Returns:
      A `Summary`.

    Raises:
      FileNotFoundError: if the model or the source is missing.
      FileExistsError: if `destination` or unfinished scores of another model or source exist, and `overwrite` is
        false.
      ValueError: if the source is of an unknown kind, lacks the `id_column`, or none of its first 1000 rows can be
        scored.

    Example:
      ```python
      iwae_tf.export(model, "exported", num_samples=10)
      np.save("digits.npy", x)
      summary = scoring.score("exported", "digits.npy", "digits.csv")
      summary.rows, summary.rejected  # 20, 0
      ```
    """
    source, destination = Path(source), Path(destination)
    check_count(batch_size, "batch_size")
    if header not in (None, True, False):
        raise ValueError(f"Expected header to be True, False or None. Received: {header!r}")
    writer.check_destination(destination, overwrite)
    writer.check_id_column(id_column)
    sources.check_kind(source)
    scorer = endpoint.Scorer(saved_model)
    columns = scorer.columns._replace(
        id_column=id_column or scorer.columns.id_column, ignored=(*scorer.columns.ignored, *ignored_columns)
    )
    opened = sources.open_source(source, scorer.event_shape, scorer.dtype, columns, header)
    if id_column and not opened.id_column:
        raise ValueError(f"Expected a column {id_column!r} in a .csv or .parquet file. Received: {source}")
    about = {
        "model": scorer.digest, "source": opened.fingerprint(), "rows": opened.total, "header": header,
        "columns": [opened.id_column, *ignored_columns],
    }  # fmt: skip
    with (
        writer.ScoreWriter(destination, about, overwrite) as output,
        tqdm.tqdm(total=opened.total, initial=output.count, unit="row", disable=not verbose) as bar,
    ):
        rows = opened.rows(output.count)
        while batch := list(itertools.islice(rows, batch_size)):
            output.append(batch, scorer.score(batch))
            bar.update(len(batch))
            if not output.any_scored and output.count >= MAX_REJECTED_FIRST:
                break
        return output.finish(opened, scorer.score_dtype)
