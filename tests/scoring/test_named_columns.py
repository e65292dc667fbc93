"""Files for models of tables: columns are found by name, whatever their order."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import iwae_tf
from iwae_tf import data, scoring
from iwae_tf.scoring import endpoint
from iwae_tf.scoring.saved_columns import NO_COLUMNS, SavedColumns
from iwae_tf.scoring.sources import open_source
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
    columns = [{"name": name, "kind": kind} for name, kind in kinds]
    columns[2]["categories"] = towns = ["Hull", "Leeds", "York"]
    assert content == {"columns": columns, "id_column": None, "ignored": []}
    assert endpoint.Scorer(table_model).columns == (tuple(map(str, FRAME)), {"town": tuple(towns)}, None, ())
    assert not (saved_model / "assets.extra").exists() and endpoint.Scorer(saved_model).columns == NO_COLUMNS


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
        (lambda t: t.assign(visits="many"), "column"),
        (lambda t: t.assign(town="Paris"), "'Hull', 'Leeds', 'York' in column 'town'. Received: 'Paris'"),
    ],
)
def test_other_columns_are_an_error_for_the_whole_file(change, message, suffix, table_model, coded, tmp_path):
    (tmp_path / "out").mkdir()
    source, frame = tmp_path / f"x{suffix}", change(coded)
    frame.to_csv(source, index=False) if suffix == ".csv" else frame.to_parquet(source)
    arguments = ("score", table_model, source, "-o", tmp_path / "out" / "scores.csv")
    check_refused(arguments, message, tmp_path / "out")


def test_labels_stand_for_their_codes(table_model, coded, in_order, tmp_path):
    """The frame that was trained on is scored as it is, with columns that are left out and one that names the rows."""
    frame = FRAME.rename(columns=str).assign(town=FRAME.town.astype("category"), note="any", name=[*"abcdefghijkl"])
    frame.loc[3, "town"] = None
    coded = coded.copy()
    coded.loc[3, "town"] = np.nan
    coded.to_csv(tmp_path / "coded.csv", index=False)
    scoring.score(table_model, tmp_path / "coded.csv", tmp_path / "coded.parquet")
    export = shutil.copytree(table_model, tmp_path / "model")
    content = json.loads((export / "assets.extra" / "iwae_tf.json").read_text())
    (export / "assets.extra" / "iwae_tf.json").write_text(json.dumps({**content, "ignored": ["note", "more"]}))
    for suffix in ("csv", "parquet"):
        write = frame.to_csv if suffix == "csv" else frame.to_parquet
        write(tmp_path / f"x.{suffix}")
        summary = scoring.score(export, tmp_path / f"x.{suffix}", tmp_path / f"out.{suffix}", id_column="name")
        scores = read(summary.path)
        assert scores.columns[1] == "name" and scores.pop("name").tolist() == [*"abcdefghijkl"]
        pd.testing.assert_frame_equal(scores.astype(np.float32), read(tmp_path / "coded.parquet").astype(np.float32))


def test_an_unknown_label_rejects_its_row(table_model, tmp_path):
    frame = FRAME.rename(columns=str).assign(key=np.arange(12) + 100)
    frame.loc[5, "town"] = "Paris"
    for suffix in ("csv", "parquet"):
        write = frame.to_csv if suffix == "csv" else frame.to_parquet
        write(tmp_path / f"x.{suffix}", index=False)
        result = invoke(
            "score", table_model, tmp_path / f"x.{suffix}", "-o", tmp_path / f"{suffix}.csv", "--id-column", "key"
        )
        assert "1 of 12 rows rejected" in result.output, result.output
        rejected = pd.read_csv(tmp_path / f"{suffix}.csv.rejected.csv")
        assert rejected.key.tolist() == [105] and "Received: 'Paris'" in rejected.reason[0]
        assert 105 not in read(tmp_path / f"{suffix}.csv").key.tolist()


@pytest.mark.parametrize(
    ("labels", "texts", "codes"),
    [
        (("no", "yes"), ["yes", " no", "1", "0.0", "", "NA"], [1, 0, 1, 0, np.nan, np.nan]),
        ((3, 5, 7.5), ["3", "5.0", "7.50", "nan"], [0, 1, 2, np.nan]),
        ((False, True), ["True", "false", "1", "null"], [1, 0, 1, np.nan]),
        (("NA", "none"), ["NA", "none", ""], [0, 1, np.nan]),
    ],
)
def test_labels_of_any_kind(labels, texts, codes, tmp_path):
    """Where labels are numbers, numbers are labels; elsewhere they are codes. A label may look like a missing value."""
    frame = pd.DataFrame({"a": texts, "b": 1.0})
    frame.to_csv(tmp_path / "x.csv", index=False)
    source = open_source(tmp_path / "x.csv", (2,), "float32", SavedColumns(("b", "a"), {"a": labels}))
    np.testing.assert_array_equal([row.x for row in source.rows(0)], np.stack([np.ones(len(codes)), codes], 1))


def test_columns_that_identify_rows(saved_model, x, tmp_path):
    """Models without names have them too; the column must be in all files, and not be named like one of the scores."""
    frame = pd.DataFrame(x.reshape(20, -1)).rename(columns="pixel_{}".format)
    folder = tmp_path / "folder"
    folder.mkdir()
    frame.assign(name=range(20))[:9].to_csv(folder / "0.csv", index=False)
    frame.assign(name=range(20))[9:].to_csv(folder / "1.csv")
    scoring.score(saved_model, folder, tmp_path / "out.csv", id_column="name")
    assert read(tmp_path / "out.csv").name.tolist() == [*range(20)]
    frame.to_csv(folder / "1.csv")
    np.save(tmp_path / "x.npy", x)
    for source, column, message in (
        (folder, "name", "'name' in every file or in none"),
        (folder, "row", "none of row"),
        (folder / "1.csv", "no", "Expected a column 'no' in a .csv or .parquet file"),
        (tmp_path / "x.npy", "name", "Expected a column 'name' in a .csv or .parquet file"),
    ):
        with pytest.raises(ValueError, match=message):
            scoring.score(saved_model, source, tmp_path / "no.csv", id_column=column)
    assert not (tmp_path / "no.csv").exists()


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
    with pytest.raises(ValueError, match="Expected the columns of a SavedModel in"):
        endpoint.Scorer(copy)
