"""Scores of files on Apache Beam, for more rows than one machine can score. Needs the extra `beam`."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

try:
    import apache_beam as beam
    from apache_beam.io import fileio
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.ml.inference import base as inference
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.typehints import no_annotations
except ImportError as error:  # pragma: no cover
    raise ImportError(f"Expected the extra beam: pip install 'iwae_tf[beam]'. Received: {error}") from error

import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from iwae_tf.files import remove
from iwae_tf.scoring import sources
from iwae_tf.scoring.base import Row, Source, get_suffix
from iwae_tf.scoring.endpoint import SCORES, Scorer
from iwae_tf.scoring.saved_columns import SavedColumns

#: Kinds of files that can be read in pieces, on a disk or in a bucket.
KINDS = {suffix: sources.KINDS[suffix] for suffix in (".parquet", ".tfrecord")}
REJECTED = pa.schema([("file", pa.string()), ("row", pa.int64()), ("reason", pa.string())])


@dataclasses.dataclass(frozen=True)
class File:
    """A file on a disk or in a bucket, with the part of the API of `pathlib.Path` that a source uses."""

    path: str

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.path).suffix

    def open(self, mode: str = "rb") -> BinaryIO:
        return FileSystems.open(self.path)

    def __str__(self) -> str:
        return self.path


class Key(NamedTuple):
    """Identifies a row by its file, its number, counted from 0, and the value of the id column, if there is one."""

    file: str
    row: int
    identifier: str | None = None


class Description(NamedTuple):
    """Describes the model's input to the workers; the arguments of a `Source`."""

    event_shape: tuple[int, ...]
    dtype: npt.DTypeLike
    columns: SavedColumns


class Handler(inference.ModelHandler):
    """Scores `Row`s with a SavedModel, as `Scorer.score` does."""

    def __init__(self, saved_model: str | os.PathLike, batch_size: int = 100) -> None:
        super().__init__(max_batch_size=batch_size)
        self._saved_model = saved_model

    def load_model(self) -> Scorer:
        return Scorer(self._saved_model)

    def run_inference(
        self, batch: Sequence[Row], model: Scorer, inference_args: dict[str, Any] | None = None
    ) -> list[tuple | str]:
        return model.score(batch)

    def get_num_bytes(self, batch: Sequence[Row]) -> int:
        return sum(row.x.nbytes for row in batch if row.x is not None)


class Score(beam.PTransform):
    """Scores the rows of the files that it receives by name; the scores equal those of `scoring.score` bit for bit.

    The workers share the files by row groups (Parquet) or whole (TFRecord).

    Args:
      saved_model: folder that `iwae_tf.export` wrote, where every worker can read it.
      batch_size: rows scored at once, at most; the scores do not depend on it.

    Returns:
      Two `PCollection`s of dicts. `scores`: `file`, `row`, and the columns of `scoring.score`, with the id column if
      the export names one; `rejected`: `file`, `row` (`None` for a whole file) and `reason`.

    Raises:
      FileNotFoundError: if there is no SavedModel.
      ValueError: if it is damaged or lacks the endpoint.
    """

    def __init__(self, saved_model: str | os.PathLike, batch_size: int = 100) -> None:
        super().__init__()
        scorer = Scorer(saved_model)
        self._handler = Handler(saved_model, batch_size)
        self._input = Description(scorer.event_shape, scorer.dtype, scorer.columns)
        scores = [(name, pa.from_numpy_dtype(scorer.score_dtype)) for name in SCORES]
        id_column = [(name, pa.string()) for name in (scorer.columns.id_column,) if name]
        self.schema = pa.schema([("file", pa.string()), ("row", pa.int64()), *id_column, *scores])

    @no_annotations
    def expand(self, files: beam.PCollection) -> dict[str, beam.PCollection]:
        pieces = files | beam.FlatMap(_list_pieces, self._input).with_outputs("rejected", main="pieces")
        results = (
            pieces.pieces
            | beam.Reshuffle()  # Otherwise the worker that lists the pieces would read them all.
            | beam.FlatMap(_read_piece, self._input)
            | inference.RunInference(inference.KeyedModelHandler(self._handler))
            | beam.FlatMap(_split_results, self.schema.names).with_outputs("rejected", main="scores")
        )
        return {"scores": results.scores, "rejected": (pieces.rejected, results.rejected) | beam.Flatten()}


# Beam would read the annotations of functions as the types of a pipeline, which cannot express tagged outputs.
@no_annotations
def _list_pieces(
    path: str, description: Description
) -> Iterator[tuple[str, int, int | None] | beam.pvalue.TaggedOutput]:
    """Yields the pieces of a file that can be read by themselves, or rejects the file."""
    try:
        yield from ((path, start, count) for start, count in _open(path, description).pieces())
    except (OSError, ValueError) as error:
        yield _reject(path, None, str(error))


@no_annotations
def _read_piece(piece: tuple[str, int, int | None], description: Description) -> Iterator[tuple[Key, Row]]:
    """Yields the rows of a piece of a file; where reading fails, the remaining rows with the reason."""
    path, start, count = piece
    number = start
    try:
        for row in itertools.islice(_open(path, description).rows(start), count):
            yield Key(path, number, row.identifier), row
            number += 1
    except (OSError, ValueError) as error:
        for remaining in range(number, start + (count or 1)):
            yield Key(path, remaining), Row(None, str(error))


def _open(path: str, description: Description) -> Source:
    file = File(path)
    suffix = get_suffix(cast(Path, file))
    if suffix not in KINDS:
        raise ValueError(f"Expected a file that ends in {', '.join(KINDS)}. Received: {path}")
    return KINDS[suffix](cast(Path, file), *description)


@no_annotations
def _split_results(result: tuple[Key, tuple | str], names: Sequence[str]) -> Iterator[dict | beam.pvalue.TaggedOutput]:
    """Yields a row with its scores in columns of these names, or rejects it."""
    key, scores = result
    if isinstance(scores, str):
        yield _reject(key.file, key.row, scores)
    else:
        where = key if len(names) == len(key) + len(scores) else key[:2]
        yield dict(zip(names, [*where, *(score.item() for score in scores)], strict=True))


def _reject(file: str, row: int | None, reason: str) -> beam.pvalue.TaggedOutput:
    return beam.pvalue.TaggedOutput("rejected", {"file": file, "row": row, "reason": " ".join(reason.split())})


def score(
    saved_model: str | os.PathLike,
    pattern: str | os.PathLike,
    output: str | os.PathLike,
    batch_size: int = 100,
    overwrite: bool = False,
    options: Sequence[str] | None = None,
) -> tuple[int, int]:
    """Scores every row of all files that match a pattern, on the runner named in the options.

    The results appear in `output` when all rows are done. If a worker fails, another repeats its rows on Flink, Spark
    and Dataflow; the direct runner ends with an error and leaves nothing.

    Args:
      saved_model: folder that `iwae_tf.export` wrote, where every worker can read it.
      pattern: files to score, such as `data/part-*.parquet`: Parquet or TFRecord, as for `scoring.score`.
      output: folder to write `scores-*.parquet` to, with `file`, `row` and the columns of `scoring.score` in no
        particular order, and `rejected-*.parquet` with `file`, `row` and `reason`.
      batch_size: rows scored at once, at most; the scores do not depend on it.
      overwrite: whether to replace the results in `output`, once there are new ones.
      options: list of Beam's pipeline options, such as `["--runner=FlinkRunner"]`.

    Returns:
      The number of rows with scores, and the number of rejected rows and files.

    Raises:
      FileNotFoundError: if there is no SavedModel or no file.
      FileExistsError: if `output` has results and `overwrite` is false.
      ValueError: if the SavedModel is damaged or lacks the endpoint.
      RuntimeError: if the pipeline fails.

    Example:
      ```python
      from iwae_tf.scoring import beam
      beam.score("exported", "data/*.parquet", "scores", options=["--runner=DirectRunner"])
      ```
    """
    transform = Score(saved_model, batch_size)
    if not _matches(pattern):
        raise FileNotFoundError(f"No files match {pattern}.")
    old = [path for kind in ("scores", "rejected") for path in _matches(f"{output}/{kind}-*.parquet")]
    if old and not overwrite:
        raise FileExistsError(f"Expected a folder without results. Received: {output}; pass overwrite (--overwrite)")
    aside = [f"{path}.old" for path in old]
    if old:
        FileSystems.rename(old, aside)
    schemas = {"scores": transform.schema, "rejected": REJECTED}
    try:
        with beam.Pipeline(options=PipelineOptions(options or [])) as pipeline:
            files = pipeline | fileio.MatchFiles(str(pattern)) | beam.Map(lambda file: file.path) | beam.Reshuffle()
            for kind, rows in (files | transform).items():
                sink = beam.io.WriteToParquet(f"{output}/{kind}", schemas[kind], file_name_suffix=".parquet")
                _ = rows | f"Write {kind}" >> sink
    except Exception as error:  # The kind of error depends on the runner.
        for leftover in Path(output).glob("beam-temp-*"):
            remove(leftover)
        if old:
            FileSystems.rename(aside, old)
        received = " ".join(str(error).split())[-300:]
        raise RuntimeError(
            f"Expected the pipeline to finish. Received: {received}; nothing was written, and the same command starts "
            "anew"
        ) from error
    if old:
        FileSystems.delete(aside)
    num_scored, num_rejected = (
        sum(map(_num_rows, _matches(f"{output}/{kind}-*.parquet"))) for kind in ("scores", "rejected")
    )
    return num_scored, num_rejected


def _matches(pattern: str | os.PathLike) -> list[str]:
    return [file.path for file in FileSystems.match([str(pattern)])[0].metadata_list]


def _num_rows(path: str) -> int:
    with FileSystems.open(path) as file:
        return pq.ParquetFile(file).metadata.num_rows
