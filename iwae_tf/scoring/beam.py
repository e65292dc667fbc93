"""Scores of files on Apache Beam, for more rows than one machine is to score. Needs the extra `beam`."""

import dataclasses
import itertools
from pathlib import Path, PurePosixPath
from typing import NamedTuple

try:
    import apache_beam as beam
    from apache_beam.io import fileio
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.ml.inference import base as inference
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:  # pragma: no cover
    raise ImportError(f"Expected the extra beam: pip install 'iwae_tf[beam]'. Received: {error}") from error

import pyarrow as pa
import pyarrow.parquet as pq

from iwae_tf.files import remove
from iwae_tf.scoring import sources
from iwae_tf.scoring.endpoint import SCORES, Scorer
from iwae_tf.scoring.rows import Row

#: Kinds of files that can be read piece by piece, wherever they lie.
KINDS = {suffix: sources.KINDS[suffix] for suffix in (".parquet", ".tfrecord")}
REJECTED = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string())])


@dataclasses.dataclass(frozen=True)
class File:
    """A file that Beam finds, on a disk or in a bucket: as much of a `pathlib.Path` as a source asks for."""

    path: str

    @property
    def suffix(self):
        return PurePosixPath(self.path).suffix

    def open(self, mode="rb"):
        return FileSystems.open(self.path)

    def __str__(self):
        return self.path


class Key(NamedTuple):
    """Which row it is: of which file, counted from 0."""

    file: str
    row: int


class Handler(inference.ModelHandler):
    """Scores `sources.Row`s by a SavedModel, each as `scoring.score` does: a tuple of scores or a reason for none."""

    def __init__(self, saved_model, batch_size=100):
        super().__init__(max_batch_size=batch_size)
        self._saved_model = saved_model

    def load_model(self):
        return Scorer(self._saved_model)

    def run_inference(self, batch, model, inference_args=None):
        return model.score(batch)

    def get_num_bytes(self, batch):
        return sum(row.x.nbytes for row in batch if row.x is not None)


class Score(beam.PTransform):
    """Scores the rows of files whose names come in, as `scoring.score` scores them, to the last bit.

    Files are shared among the workers by row groups (Parquet) or whole (TFRecord).

    Args:
      saved_model: folder that `iwae_tf.export` wrote, where every worker can read it.
      batch_size: most rows that are scored at once; the scores do not depend on it.

    Returns:
      Two `PCollection`s of dicts. `scores`: `file`, `row`, and the columns of `scoring.score`; `rejected`: `file`,
      `row` (`None` if it is the whole file) and `reason`.

    Raises:
      FileNotFoundError, ValueError: if there is no such model.
    """

    def __init__(self, saved_model, batch_size=100):
        super().__init__()
        scorer = Scorer(saved_model)
        self._handler = Handler(saved_model, batch_size)
        self._about = scorer.event_shape, scorer.dtype, scorer.columns
        self.score_dtype = scorer.score_dtype

    def expand(self, files):
        pieces = files | beam.FlatMap(_pieces, *self._about).with_outputs("rejected", main="pieces")
        results = (
            pieces.pieces
            | beam.Reshuffle()  # or one worker would read what it has listed
            | beam.FlatMap(_rows, *self._about)
            | inference.RunInference(inference.KeyedModelHandler(self._handler))
            | beam.FlatMap(_sorted_out).with_outputs("rejected", main="scores")
        )
        return {"scores": results.scores, "rejected": (pieces.rejected, results.rejected) | beam.Flatten()}


def _pieces(path, *about):
    """Yields the parts of a file that can be read by themselves; what is no such file is rejected as a whole."""
    try:
        source = _open(path, *about)
        yield from ((path, start, count) for start, count in source.pieces())
    except (OSError, ValueError) as error:
        yield _rejected(path, None, str(error))


def _rows(piece, *about):
    """Yields the rows of a part of a file; those that cannot be read with the reason."""
    path, start, count = piece
    number = start
    try:
        for row in itertools.islice(_open(path, *about).rows(start), count):
            yield Key(path, number), row
            number += 1
    except (OSError, ValueError) as error:
        for left in range(number, start + (count or 1)):
            yield Key(path, left), Row(None, str(error))


def _open(path, event_shape, dtype, columns):
    file = File(path)
    if file.suffix.lower() not in KINDS:
        raise ValueError(f"Expected a file that ends in {', '.join(KINDS)}. Received: {path}")
    return KINDS[file.suffix.lower()](file, event_shape, dtype, columns)


def _sorted_out(result):
    (file, row), scores = result
    if isinstance(scores, str):
        yield _rejected(file, row, scores)
    else:
        yield {"file": file, "row": row, **{name: score.item() for name, score in zip(SCORES, scores, strict=True)}}


def _rejected(file, row, reason):
    return beam.pvalue.TaggedOutput("rejected", {"file": file, "row": row, "reason": " ".join(reason.split())})


def score(saved_model, pattern, output, batch_size=100, overwrite=False, options=None):
    """Scores every row of all files of a pattern, on the runner that the options name.

    Nothing has its name in `output` before all rows are done. A worker that fails has its rows done again by another,
    where the runner does so (Flink, Spark and Dataflow do; the direct runner ends with an error, and leaves nothing).

    Args:
      saved_model: folder that `iwae_tf.export` wrote, where every worker can read it.
      pattern: files to score, such as `data/part-*.parquet`: Parquet or TFRecord, as for `scoring.score`.
      output: folder to write `scores-*.parquet` to, with `file`, `row` and the columns of `scoring.score` in no
        particular order, and `rejected-*.parquet` with `file`, `row` and `reason`.
      batch_size: most rows that are scored at once; the scores do not depend on it.
      overwrite: whether results that are in `output` are replaced, once there are new ones.
      options: list of Beam's pipeline options, such as `["--runner=FlinkRunner"]`.

    Returns:
      The number of rows that have scores, and of the rows and files that have none.

    Raises:
      FileNotFoundError: if there is no model or no file.
      FileExistsError: if `output` has results and `overwrite` is false.
      ValueError: if it is no model that scores.
      RuntimeError: if the runner gives up.
    """
    transform = Score(saved_model, batch_size)
    if not _matches(pattern):
        raise FileNotFoundError(f"Expected files to score. Received: {pattern}, which there are none of")
    old = [path for kind in ("scores", "rejected") for path in _matches(f"{output}/{kind}-*.parquet")]
    if old and not overwrite:
        raise FileExistsError(f"Expected {output} to be free. Received: it has results; pass overwrite (--overwrite)")
    aside = [f"{path}.old" for path in old]
    if old:
        FileSystems.rename(old, aside)
    scores = [(name, pa.from_numpy_dtype(transform.score_dtype)) for name in SCORES]
    schemas = {"scores": pa.schema([("file", pa.string()), ("row", pa.int64()), *scores]), "rejected": REJECTED}
    try:
        with beam.Pipeline(options=PipelineOptions(options or [])) as pipeline:
            files = pipeline | fileio.MatchFiles(str(pattern)) | beam.Map(lambda found: found.path) | beam.Reshuffle()
            for kind, rows in (files | transform).items():
                sink = beam.io.WriteToParquet(f"{output}/{kind}", schemas[kind], file_name_suffix=".parquet")
                _ = rows | f"Write {kind}" >> sink
    except Exception as error:  # of any kind, by runner and cause
        for left in Path(output).glob("beam-temp-*"):
            remove(left)
        if old:
            FileSystems.rename(aside, old)
        received = " ".join(str(error).split())[-300:]
        raise RuntimeError(
            f"Expected the pipeline to end. Received: {received}; nothing is kept, and the same command starts anew"
        ) from error
    if old:
        FileSystems.delete(aside)
    return tuple(sum(map(_num_rows, _matches(f"{output}/{kind}-*.parquet"))) for kind in schemas)


def _matches(pattern):
    return [found.path for found in FileSystems.match([str(pattern)])[0].metadata_list]


def _num_rows(path):
    with FileSystems.open(path) as file:
        return pq.ParquetFile(file).metadata.num_rows
