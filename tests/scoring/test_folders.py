"""Folders of parts, as Spark writes them, and of images."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from iwae_tf import scoring
from iwae_tf.scoring.saved_columns import SavedColumns
from iwae_tf.scoring.sources import open_source

from .conftest import read, write

KINDS = [".npy", ".npz", ".csv", ".parquet", ".tfrecord"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_one_source(kind, folder, saved_model, expected, x, tmp_path):
    for i, part in enumerate(np.split(x, [7, 8, 15])):
        write(part, folder / f"part-{i:05}-5f1c{kind}").rename(folder / f"part-{i:05}-5f1c.c000.snappy{kind.upper()}")
    for name in ("_SUCCESS", "._SUCCESS.crc", f".part-00000{kind}.crc", f"_hidden{kind}"):
        (folder / name).write_bytes(b"no part")
    summary = scoring.score(saved_model, folder, tmp_path / "out.csv", batch_size=6)
    table = read(tmp_path / "out.csv")
    assert (summary.rows, summary.rejected) == (20, 0)
    np.testing.assert_array_equal(table.row, range(20))
    np.testing.assert_array_equal(table.log_likelihood.astype(np.float32), expected)
    source = open_source(folder, (8, 8, 1), "uint8")
    for start in range(21):
        rows = [row.x for row in source.rows(start)]
        np.testing.assert_array_equal(np.reshape(rows, (-1, 64)), x.reshape(20, 64)[start:])


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_parts_without_rows(kind, folder):
    """Spark writes a part for every partition, and some are empty."""
    table = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    for i, part in enumerate([table[:0], table[:1], table[:0], table[1:]]):
        path = folder / f"part-{i}{kind}"
        part.to_csv(path, index=False) if kind == ".csv" else part.to_parquet(path)
    if kind == ".csv":
        (folder / "part-9.csv").write_text("")
    source = open_source(folder, (2,), "float32", SavedColumns(("b", "a")))
    for start in range(3):
        rows = [row.x for row in source.rows(start)]
        np.testing.assert_array_equal(np.reshape(rows, (-1, 2)), table[["b", "a"]][start:])


def image(path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("names", "received"),
    [
        ([], "none"),
        (["notes.txt"], "notes.txt"),
        (["_SUCCESS", ".hidden.csv"], "none"),
        (["a.csv", "b.parquet"], ".csv, .parquet"),
        (["a.csv", "b.png"], ".csv, b.png"),
        (["a.parquet", "b.csv.gz"], ".parquet, b.csv.gz"),
        (["a.parquet", "more/b.parquet"], ".parquet, more"),
        (["more/b.parquet"], "more"),
        (["a.npy", "more/b.jpeg"], ".npy, more"),
    ],
)
def test_folders_of_neither_or_both(names, received, folder):
    for name in names:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix in (".png", ".jpeg"):
            image(path)
        elif path.suffix in (".npy", ".csv", ".parquet"):
            write(np.zeros((2, 8, 8, 1), np.uint8), path)
        else:
            path.write_text("notes")
    with pytest.raises(ValueError) as error:
        open_source(folder, (8, 8, 1), "uint8")
    assert str(error.value).startswith("Expected a folder of images only, or of files of one kind only, .csv, .npy")
    assert f"Received: {received} in {folder}" in str(error.value)


def test_a_part_that_is_not_the_models_is_named(folder):
    write(np.zeros((2, 4)), folder / "a.parquet")
    write(np.zeros((2, 3)), folder / "b.parquet")
    with pytest.raises(ValueError, match=r"Expected 4 values in each row, .* Received: 3 .*, in .*b\.parquet"):
        open_source(folder, (4,), "float32")


@pytest.mark.parametrize("header", [True, False])
def test_a_header_is_that_of_every_part(header, folder):
    (folder / "a.csv").write_text("1,2\n3,4\n")
    (folder / "b.CSV").write_text("5,6\n7,8\n")
    found = [list(row.x) for row in open_source(folder, (2,), "float32", header=header).rows(0)]
    assert found == ([[3, 4], [7, 8]] if header else [[1, 2], [3, 4], [5, 6], [7, 8]])


@pytest.mark.parametrize("kind", [".npy", ".npz", ".parquet", ".tfrecord"])
def test_only_csv_has_a_header(kind, folder):
    write(np.zeros((2, 4), np.float32), folder / f"a{kind}")
    for path in (folder, folder / f"a{kind}"):
        with pytest.raises(ValueError, match=r"header for \.csv files only. Received: header=False for"):
            open_source(path, (4,), "float32", header=False)
