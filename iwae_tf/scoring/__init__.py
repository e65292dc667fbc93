"""Scores of files by an exported SavedModel; iwae_tf's models are not needed for it."""

import itertools
from pathlib import Path

import tqdm

from iwae_tf.checks import check_count
from iwae_tf.scoring import endpoint, part, sources
from iwae_tf.scoring.part import Summary

__all__ = ["Summary", "score"]

#: Rows from the first on of which one must be scored; else the source is held to be of another kind than the model's.
MOST_FAULTS = 1000


def score(saved_model, source, destination, batch_size=100, overwrite=False, verbose=0, header=None):
    """Scores every row of a source by the `log_likelihood` endpoint of a SavedModel.

    The source is read as the scores go on, in memory that does not grow with it. Rows that cannot be read, or that the
    model does not take, are left out and listed with their reasons in `<destination>.rejected.csv`. The scores so far
    lie in `<destination>.part`; after a kill or an interrupt the same call goes on behind them.

    Args:
      saved_model: folder that `iwae_tf.export` wrote.
      source: .npy; .npz (the array named `x`, or the only one); .csv or .parquet with a row per observation, its
        values in row-major order in numeric columns, or in columns of the names that a model of a table has;
        .tfrecord of `tf.train.Example` with a feature `x`; a folder of such files of one kind, read in the order of
        their names; or a folder of PNG and JPEG images.
      destination: .csv or .parquet to write, in the order of `source`: `row`, the number in the source from 0 on (of
        images `file`), `log_likelihood` and `standard_error` in nats, `effective_sample_size`.
      batch_size: observations scored at once; the scores do not depend on it.
      overwrite: whether an existing file is replaced, and an unfinished one of another model or source.
      verbose: 1 shows a progress bar.
      header: whether a .csv file begins with a header. `None` goes by what it holds.

    Returns:
      A `Summary`.

    Raises:
      FileNotFoundError: if the model or the source is missing.
      FileExistsError: if `destination` exists, or an unfinished one of another model or source, and `overwrite` is
        false.
      ValueError: if the source is of another kind, or none of its first 1000 rows are such as the model takes.
    """
    destination = Path(destination)
    check_count(batch_size, "batch_size")
    if header not in (None, True, False):
        raise ValueError(f"Expected header to be True, False or None. Received: {header!r}")
    part.check_destination(destination, overwrite)
    sources.check_kind(source)
    scorer = endpoint.Scorer(saved_model)
    rows = sources.open_source(source, scorer.event_shape, scorer.dtype, scorer.columns, header)
    about = {"model": scorer.digest, "source": rows.fingerprint(), "rows": rows.total, "header": header}
    with (
        part.Part(destination, about, overwrite) as done,
        tqdm.tqdm(total=rows.total, initial=done.count, unit="row", disable=not verbose) as bar,
    ):
        left = rows.rows(done.count)
        while batch := list(itertools.islice(left, batch_size)):
            done.append(batch, scorer.score(batch))
            bar.update(len(batch))
            if not done.scored and done.count >= MOST_FAULTS:
                break
        return done.finish(rows, scorer.score_dtype)
