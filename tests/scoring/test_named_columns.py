"""Files for models of tables: columns are found by name, whatever their order."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import iwae_tf
from iwae_tf import data, scoring
from iwae_tf.scoring import endpoint
from tests.fixtures import check_refused, invoke

from .conftest import read
from .test_resuming import interrupt

FRAME = pd.DataFrame(
    {
        "height": np.linspace(1.5, 2.0, 12),
        "visits": np.arange(12) % 5,
        "town": ["Leeds", "York", "Hull"] * 4,
        7: [0, 1] * 6,
    }
)


@pytest.fixture(scope="module")
def table():
    return data.from_dataframe(FRAME)


@pytest.fixture(scope="module")
def table_model(table, tmp_path_factory):
    model = iwae_tf.tabular(table, (2,), [(4,)], seed=0)
    model.encode(table.array)
    return iwae_tf.export(model, tmp_path_factory.mktemp("export") / "model", 20)


@pytest.fixture(scope="module")
def coded(table):
    """The numbers of the frame as a frame, whose columns have the names that text has room for."""
    return pd.DataFrame(table.array, columns=list(map(str, FRAME)))


@pytest.fixture(scope="module")
def in_order(table_model, table, tmp_path_factory):
    """The scores of the numbers in the order of the model."""
    folder = tmp_path_factory.mktemp("scores")
    np.save(folder / "x.npy", table.array)
    scoring.score(table_model, folder / "x.npy", folder / "out.parquet")
    return read(folder / "out.parquet")


def test_an_export_says_what_its_columns_are(table_model, saved_model):
    content = json.loads((table_model / "assets.extra" / "iwae_tf.json").read_text())
    kinds = zip(map(str, FRAME), ("real", "count", "category", "binary"), strict=True)
    assert content == {"columns": [{"name": name, "kind": kind} for name, kind in kinds]}
    assert endpoint.Scorer(table_model).columns == tuple(map(str, FRAME))
    assert not (saved_model / "assets.extra").exists() and endpoint.Scorer(saved_model).columns == ()


@pytest.mark.parametrize("name", ["x.csv", "UP.CSV", "x.parquet", "X.Parquet", "folder"])
def test_the_order_of_columns_makes_no_difference(name, table_model, coded, in_order, tmp_path):
    source = tmp_path / name
    shuffled = coded[["7", "town", "height", "visits"]]
    if name == "folder":
        source.mkdir()
        shuffled[:5].to_csv(source / "part-0.csv", index=False)
        coded[5:].to_csv(source / "part-1.csv")
    elif source.suffix.lower() == ".csv":
        shuffled.to_csv(source)
    else:
        shuffled.to_parquet(source)
    scoring.score(table_model, source, tmp_path / "OUT.PARQUET")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "OUT.PARQUET"), in_order)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="town"), "Received: missing: 'town'"),
        (lambda t: t.assign(more=1), "Received: unknown: 'more'"),
        (lambda t: t.assign(town=FRAME.town), "table.encode(frame)"),
    ],
)
def test_other_columns_are_an_error_for_the_whole_file(change, message, suffix, table_model, coded, tmp_path):
    (tmp_path / "out").mkdir()
    source, frame = tmp_path / f"x{suffix}", change(coded)
    frame.to_csv(source, index=False) if suffix == ".csv" else frame.to_parquet(source)
    arguments = ("score", table_model, source, "-o", tmp_path / "out" / "scores.csv")
    check_refused(arguments, message, tmp_path / "out")


def test_a_header_can_be_said_to_be_one_or_none(table_model, coded, tmp_path):
    coded.set_axis([1.5, 2, 1, 0], axis=1).to_csv(tmp_path / "x.csv", index=False)
    for options, rows in (((), 13), (("--no-header",), 13), (("--header",), 12)):
        result = invoke("score", table_model, tmp_path / "x.csv", "-o", tmp_path / "out.csv", "--overwrite", *options)
        assert result.exit_code == 0 and f"{rows} rows," in result.output, result.output
    with pytest.raises(ValueError, match=r"header to be True, False or None. Received: 'no'"):
        scoring.score(table_model, tmp_path / "x.csv", tmp_path / "out.csv", overwrite=True, header="no")


def test_a_run_with_another_header_is_not_gone_on_with(table_model, coded, tmp_path, monkeypatch):
    coded.to_csv(tmp_path / "x.csv", index=False)
    interrupt(1, monkeypatch, table_model, tmp_path / "x.csv", tmp_path / "out.csv", batch_size=4)
    with pytest.raises(FileExistsError, match="of another run"):
        scoring.score(table_model, tmp_path / "x.csv", tmp_path / "out.csv", header=True)
    assert scoring.score(table_model, tmp_path / "x.csv", tmp_path / "out.csv").resumed_at == 4


@pytest.mark.parametrize("content", ["{", "[]", '{"columns": 3}', '{"columns": [{"kind": "real"}]}', "\xff"])
def test_damaged_column_names(content, table_model, tmp_path):
    copy = shutil.copytree(table_model, tmp_path / "model")
    (copy / "assets.extra" / "iwae_tf.json").write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match="Expected the column names of a SavedModel in"):
        endpoint.Scorer(copy)
