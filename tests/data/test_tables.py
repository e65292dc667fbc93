import datetime
import decimal
import warnings

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

import iwae_tf
from iwae_tf import data, layers, objectives
from iwae_tf.data import tables

FRAME = pd.DataFrame(
    {
        "height": [1.7, np.nan, 1.6, 1.9],
        "children": [0, 2, 1, 5],
        "balance": [-3, 4, 0, 10],
        "member": [0, 1, 1, 0],
        "active": [True, False, True, True],
        "visits": pd.array([3, None, 4, 9], "Int64"),
        "town": ["Leeds", "York", None, "York"],
        "grade": pd.Categorical(["b", "a", "b", None], categories=["c", "b", "a"]),
    }
)
KINDS = ["real", "count", "real", "binary", "binary", "count", "category", "category"]


def test_kinds_are_inferred():
    table = data.from_dataframe(FRAME)
    assert [column.kind for column in table.columns] == KINDS
    assert table.array.dtype == np.float32 and table.array.shape == (4, 8)
    np.testing.assert_array_equal(np.isnan(table.array), FRAME.isna())
    assert table.columns[6].categories == ("Leeds", "York") and table.columns[7].categories == ("c", "b", "a")
    np.testing.assert_array_equal(table.array[:, 7], [1, 2, 1, np.nan])
    height, children = table.columns[:2]
    np.testing.assert_allclose([height.loc, height.scale], [FRAME.height.mean(), FRAME.height.std(ddof=0)])
    np.testing.assert_allclose(
        [children.loc, children.scale], [np.log([1, 3, 2, 6]).mean(), np.log([1, 3, 2, 6]).std()]
    )


def test_kinds_that_are_given_win():
    given = {"height": "positive", "children": "category", "active": "category", "balance": "real"}
    table = data.from_dataframe(FRAME, given)
    kinds = {column.name: column for column in table.columns}
    assert all(kinds[name].kind == kind for name, kind in given.items()) and kinds["town"].kind == "category"
    assert kinds["children"].categories == (0, 1, 2, 5) and kinds["active"].categories == (False, True)
    np.testing.assert_allclose(kinds["height"].loc, np.log(FRAME.height).mean())
    pd.testing.assert_frame_equal(table.decode(table.array).drop(columns="height"), FRAME.drop(columns="height"))


def test_decoding_gives_the_frame_back():
    frame = FRAME.set_index(pd.Index([4, 2, 7, 1]))
    table = data.from_dataframe(frame)
    pd.testing.assert_frame_equal(table.decode(table.array, frame.index), frame, rtol=1e-6)
    means = table.decode([[1.5, 1.6, -2.6, 0.4, 0.6, 2.2, 1, 0]])
    assert means.iloc[0].tolist() == [1.5, 2, -3, 0, True, 2, "York", "c"]
    assert (means.dtypes == frame.dtypes).all()
    holes = table.decode(np.full((2, 8), np.nan))
    assert holes.isna().all(axis=None) and holes.children.dtype == "Int64" and holes.active.dtype == "boolean"


def test_other_frames():
    table = data.from_dataframe(FRAME)
    np.testing.assert_array_equal(table.encode(FRAME[FRAME.columns[::-1]].assign(more=1)), table.array)
    with pytest.warns(UserWarning, match=r"'town' does not have become missing: \['Hull'\]"):
        unknown = table.encode(FRAME.assign(town=["Hull", "York", "Leeds", None]))
    np.testing.assert_array_equal(unknown[:, 6], [np.nan, 1, 0, np.nan])
    with pytest.raises(ValueError, match=r"Expected columns \['town'\]"):
        table.encode(FRAME.drop(columns="town"))
    with pytest.raises(ValueError, match="integers of 0 or more in column 'children'"):
        table.encode(FRAME.assign(children=[0, -1, 0, 0]))
    with pytest.raises(ValueError, match="Expected numbers in column 'height'"):
        table.encode(FRAME.assign(height="1.7"))
    with pytest.raises(TypeError, match=r"column 'town'. Received: list, such as"):
        table.encode(FRAME.assign(town=[["Leeds"]] * 4))
    with pytest.raises(ValueError, match="different names"):
        table.encode(pd.concat([FRAME, FRAME[["town"]]], axis=1))
    with pytest.raises(TypeError, match="pandas DataFrame"):
        table.encode(FRAME.to_numpy())
    with pytest.raises(ValueError, match=r"shape \[n, 8\]"):
        table.decode(table.array[:, :7])


BAD = {
    "array": (lambda: np.zeros((3, 2)), {}, TypeError, "pandas DataFrame"),
    "empty": (lambda: FRAME[:0], {}, ValueError, "0 rows"),
    "twice": (lambda: pd.concat([FRAME, FRAME], axis=1), {}, ValueError, "different names"),
    "alike in print": (
        lambda: pd.DataFrame({1: [0, 1], "1": [2, 3]}),
        {},
        ValueError,
        r"different names, also in print. Received: columns \[1, '1'\]",
    ),
    "levels": (lambda: pd.concat({"a": FRAME, "b": FRAME}, axis=1), {}, ValueError, "strings or integers"),
    "dates for names": (
        lambda: FRAME.T.T.set_axis(pd.date_range("2020", periods=8), axis=1),
        {},
        ValueError,
        "strings",
    ),
    "beyond float32": (
        lambda: FRAME.assign(height=1e39),
        {},
        ValueError,
        "finite numbers in column 'height', real",
    ),
    "below float32": (
        lambda: FRAME.assign(height=1e-60),
        {"height": "positive"},
        ValueError,
        "above 0 in column 'height'",
    ),
    "infinite": (lambda: FRAME.assign(height=np.inf), {}, ValueError, "finite numbers in column 'height', real"),
    "text as numbers": (
        lambda: FRAME,
        {"town": "real"},
        ValueError,
        r"numbers in column 'town', real. Received: text, such as 'Leeds'; pd.to_numeric\(frame\['town'\]\)",
    ),
    "other names": (lambda: FRAME, {"width": "real"}, ValueError, r"Received: \['width'\]"),
    "kind": (lambda: FRAME, {"height": "text"}, ValueError, "Received: 'text'"),
    "dates": (lambda: FRAME.assign(day=pd.Timestamp(0)), {}, TypeError, "'day'. Received: datetime64"),
    "objects": (lambda: FRAME.assign(town=[(1,), (2,), (1,), (2,)]), {}, TypeError, "column 'town'. Received: tuple"),
    "no values": (lambda: FRAME.assign(height=np.nan), {}, ValueError, "'height' to hold a value"),
    "one category": (lambda: FRAME.assign(town="York"), {}, ValueError, "two or more"),
    "not positive": (lambda: FRAME, {"balance": "positive"}, ValueError, "above 0 in column 'balance'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_frames(case):
    make, columns, error, message = BAD[case]
    with pytest.raises(error, match=message):
        data.from_dataframe(make(), columns)


def series(values, dtype=None):
    return pd.Series(values, dtype=dtype)


NONE, ARROW = None, pd.ArrowDtype
TEXT = str(pd.Series(["a"]).dtype)  # str from pandas 3 on, and before it object
#: Columns of every dtype of pandas: values, the kind inferred, the array, and the dtype that decoding gives.
COLUMNS = {
    "bool": (series([True, False, True]), "binary", [1, 0, 1], "bool"),
    "boolean": (series([True, NONE, False], "boolean"), "binary", [1, NONE, 0], "boolean"),
    "bool[pyarrow]": (series([True, NONE, False], "bool[pyarrow]"), "binary", [1, NONE, 0], "bool[pyarrow]"),
    "bools with holes": (series([True, NONE, False], object), "binary", [1, NONE, 0], "boolean"),
    **{
        name: (series([0, 3, 7], name), "count", [0, 3, 7], name)
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "UInt8", "Int64")
    },
    "negative": (series([-3, 0, 1], "int8"), "real", [-3, 0, 1], "int8"),
    "zeros and ones": (series([0, 1, 1], "uint8"), "binary", [0, 1, 1], "uint8"),
    "Int16": (series([4, NONE, 2], "Int16"), "count", [4, NONE, 2], "Int16"),
    "int64[pyarrow]": (series([4, NONE, 2], "int64[pyarrow]"), "count", [4, NONE, 2], "int64[pyarrow]"),
    "integers as objects": (series([4, NONE, 2], object), "count", [4, NONE, 2], "Int64"),
    **{
        name: (series([0.5, NONE, -0.0], name), "real", [0.5, NONE, 0], name)
        for name in ("float16", "float32", "float64", "Float32", "Float64", "float[pyarrow]", "double[pyarrow]")
    },
    "floats as objects": (series([0.5, NONE, 2], object), "real", [0.5, NONE, 2], "float64"),
    "sparse floats": (series(pd.arrays.SparseArray([0.5, np.nan, 0])), "real", [0.5, NONE, 0], "float64"),
    "sparse integers": (series(pd.arrays.SparseArray([0, 0, 2])), "count", [0, 0, 2], "int64"),
    "sparse bools": (series(pd.arrays.SparseArray([False, True])), "binary", [0, 1], "bool"),
    **{
        name: (series(["b", NONE, "a"], name), "category", [1, NONE, 0], name.removesuffix("[pyarrow]"))
        for name in (TEXT, "string", "string[pyarrow]", "object")
    },
    "arrow strings": (series(["b", NONE, "a"], ARROW(pa.string())), "category", [1, NONE, 0], "string"),
    "arrow large strings": (
        series(["b", NONE, "a"], "large_string[pyarrow]"),
        "category",
        [1, NONE, 0],
        "large_string[pyarrow]",
    ),
    "dictionary": (
        series(["b", NONE, "a"], ARROW(pa.dictionary(pa.int8(), pa.string()))),
        "category",
        [1, NONE, 0],
        "category",
    ),
    "category": (series(["b", NONE, "a"], "category"), "category", [1, NONE, 0], "category"),
    "unused category": (
        series(pd.Categorical(["b", "a"], categories=["c", "b", "a"])),
        "category",
        [1, 2],
        pd.CategoricalDtype(["c", "b", "a"]),
    ),
    "ordered category": (
        series(pd.Categorical(["b", "a"], categories=["b", "a"], ordered=True)),
        "category",
        [0, 1],
        pd.CategoricalDtype(["b", "a"], ordered=True),
    ),
    "category of integers": (series([7, NONE, 5], "category"), "category", [1, NONE, 0], pd.CategoricalDtype([5, 7])),
    "category of bools": (series([True, False], "category"), "category", [1, 0], "category"),
    "numbers that are few among text": (series(["a", "b", "1"]), "category", [1, 2, 0], TEXT),
    "text and numbers": (series(["a", "b", 1], object), "category", [1, 2, 0], "object"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_of_every_dtype(name):
    """Each is encoded as what it means, decodes to itself, and is encoded alike in another frame."""
    values, kind, array, dtype = COLUMNS[name]
    table = data.from_dataframe(pd.DataFrame({"a": values}))
    assert table.columns[0].kind == kind
    expected = np.array([np.nan if value is None else value for value in array], np.float32)
    np.testing.assert_array_equal(table.array[:, 0], expected)
    decoded = table.decode(table.array, values.index)["a"]
    assert decoded.dtype == dtype
    assert decoded.astype(object).where(decoded.notna(), None).tolist() == [
        None if pd.isna(value) else value for value in values.tolist()
    ]
    np.testing.assert_array_equal(table.encode(pd.DataFrame({"b": 0, "a": decoded})), table.array)
    config = keras.saving.serialize_keras_object(layers.Heterogeneous(table.columns))
    assert keras.saving.deserialize_keras_object(config).columns == table.columns


REFUSED = {
    "datetime64": series(pd.date_range("2020", periods=2)),
    "datetime64 with zone": series(pd.date_range("2020", periods=2, tz="UTC")),
    "timedelta64": series(pd.to_timedelta([1, 2], unit="s")),
    "period": series(pd.period_range("2020", periods=2, freq="D")),
    "interval": series(pd.interval_range(0, 2)),
    "complex": series([1j, 2]),
    "date32": series([datetime.date(2020, 1, 1)] * 2, ARROW(pa.date32())),
    "timestamp": series(pd.date_range("2020", periods=2), ARROW(pa.timestamp("s"))),
    "decimal128": series([decimal.Decimal(1)] * 2, ARROW(pa.decimal128(5, 2))),
    "list": series([[1], [2]], ARROW(pa.list_(pa.int64()))),
    "binary": series([b"a", b"b"], ARROW(pa.binary())),
    "bins": pd.cut(series([1.0, 2.0, 3.0]), 2),
    "category of dates": series(pd.date_range("2020", periods=2)).astype("category"),
    **{
        f"objects: {type(value).__name__}": series([value, value], object)
        for value in ([1], (1,), {"a": 1}, {1}, np.zeros(2), b"a", datetime.date(2020, 1, 1), decimal.Decimal(1), 1j)
    },
    "bools and numbers": series([True, 1, 0, False], object),
    "bools and text": series([True, "a"], object),
}


@pytest.mark.parametrize("kind", [None, "real", "count", "category"])
@pytest.mark.parametrize("name", REFUSED)
def test_columns_that_are_neither_numbers_nor_categories(name, kind):
    with pytest.raises(TypeError, match=r"Expected numbers, bools, strings or categories of them in column 'when'"):
        data.from_dataframe(pd.DataFrame({"when": REFUSED[name]}), {"when": kind} if kind else None)


@pytest.mark.parametrize("dtype", [None, "string", "string[pyarrow]", "object", ARROW(pa.string())])
@pytest.mark.parametrize("text", [["12.5", "7", "1e3"], ["12.5", "7", "?"], [" 12", "-7", None]])
def test_numbers_as_text_are_no_categories_unless_they_are_said_to_be(text, dtype):
    frame = pd.DataFrame({"price": pd.Series(text, dtype=dtype)})
    with pytest.raises(
        ValueError, match=r"column 'price'. Received: numbers as text, .* pd.to_numeric\(frame\['price'\]"
    ):
        data.from_dataframe(frame)
    table = data.from_dataframe(frame, {"price": "category"})
    assert table.decode(table.array).price.dropna().tolist() == [value for value in text if value]
    assert table.columns[0].kind == "category"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (series([2**24, 2**24 + 1]), "'id': 16777217 becomes 16777216"),
        (series([1_700_000_000_123, 1_700_000_000_456]), "'id': 1700000000123 becomes"),
        (series([2**53 + 1, 2**60], "Int64"), "'id': 9007199254740993 becomes 9007199254740992"),
        (series([2**64 - 1, 0], "uint64"), "'id': 18446744073709551615 becomes"),
        (series([-(2**24) - 1, 0], "int64[pyarrow]"), "'id': -16777217"),
        (series([2**24 + 1, NONE, 3]), r"'id': 16777217.0 becomes"),
        (series([2**24 + 1, NONE, 3], object), "'id': 16777217 becomes"),
        (series([2459000.1234, 2459000.2345]), r"'id': 2459000.1234 becomes 2459000"),
    ],
)
def test_digits_that_float32_has_no_room_for(values, message):
    frame = pd.DataFrame({"id": values})
    with pytest.warns(UserWarning, match=message) as record:
        table = data.from_dataframe(frame)
    assert len(record) == 1 and "columns={'id': 'category'}" in str(record[0].message)
    with pytest.warns(UserWarning, match=message):
        table.encode(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = data.from_dataframe(frame.assign(other=1.5), {"id": "category"})
        decoded = exact.decode(exact.array)["id"]
    assert decoded.dropna().tolist() == values.dropna().tolist()


@pytest.mark.parametrize(
    "values",
    [
        series([2**24, 2**31, 2**40 + 2**20]),
        series([0.1, 0.1, 0.1]),
        series([0.1, 1e30, -1e-30]),
        series([1.1, 2.2, NONE]),
        series([123_456_789.25, 3.5, -7e8]),
        series(["16777217", "a", "b"]),
    ],
)
def test_nothing_is_said_of_digits_that_make_no_difference(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.from_dataframe(pd.DataFrame({"a": values}))


def test_names_that_are_numbers_stay_so():
    frame = pd.DataFrame(np.arange(12.0).reshape(4, 3))
    table = data.from_dataframe(frame, {2: "count"})
    assert [column.name for column in table.columns] == [0, 1, 2] and table.columns[2].kind == "count"
    assert repr(table) == "<Table of 4 rows, columns: 0, 1, 2>"
    pd.testing.assert_frame_equal(table.decode(table.array), frame, check_column_type=False)
    np.testing.assert_array_equal(table.encode(frame.rename(columns=str)[["2", "0", "1"]]), table.array)


def test_draws_beyond_the_dtype_stay_floats():
    table = data.from_dataframe(pd.DataFrame({"a": pd.Series([1, 200, 3], dtype="uint8"), "b": [-1, 2, 3]}))
    decoded = table.decode(np.array([[300.2, -5.4], [7, 1e30]]))
    assert decoded.a.tolist() == [300, 7] and decoded.b.tolist() == [-5, 1e30]


@pytest.fixture(scope="module")
def cancer():
    """Measurements of 569 tumours, of mixed kinds: the frame, and the same with a fifth of its values missing."""
    bunch = load_breast_cancer(as_frame=True)
    whole = bunch.data[[f"mean {name}" for name in ("radius", "perimeter", "area", "texture", "smoothness")]].assign(
        points=(200 * bunch.data["mean concave points"]).round().astype(int),
        large=bunch.data["worst area"] > bunch.data["worst area"].median(),
        diagnosis=bunch.target_names[bunch.target],
    )
    return whole, whole.astype(object).mask(np.random.default_rng(0).random(whole.shape) < 0.2)


@pytest.fixture(scope="module")
def table(cancer):
    whole, holes = cancer
    # Of what is masked pandas knows no dtype.
    types = {"points": "Int64", "large": "boolean", "diagnosis": "category"}
    frame = holes.astype({name: types.get(name, "float64") for name in whole})
    return data.from_dataframe(frame, {"mean area": "positive"})


@pytest.fixture(scope="module")
def trained(table):
    model = iwae_tf.tabular(table, (3,), [(32,)], objective=objectives.ImportanceWeighted(10), seed=0)
    model.compile(keras.optimizers.Adam(5e-3))
    model.fit(table.array, batch_size=50, epochs=80, verbose=0)
    return model


def test_imputation_beats_means_and_modes(cancer, table, trained):
    whole = table.encode(cancer[0])
    filled = trained.impute(table.array, 500, seed=0).numpy()
    missing = np.isnan(table.array)
    np.testing.assert_array_equal(filled[~missing], table.array[~missing])
    for i, column in enumerate(table.columns):
        rows = missing[:, i]
        truth, found, seen = whole[rows, i], filled[rows, i], table.array[~rows, i]
        if column.kind in ("binary", "category"):
            assert (np.round(found) == truth).mean() > max(np.mean(truth == 0), np.mean(truth == 1)) + 0.1, column.name
        else:
            share = np.mean((found - truth) ** 2) / np.mean((seen.mean() - truth) ** 2)
            # Texture and smoothness have little to do with the other columns.
            assert share < (0.3 if column.name in ("mean radius", "mean perimeter", "mean area") else 1.1), column.name
    decoded = table.decode(filled)
    assert decoded.notna().all(axis=None) and decoded.points.dtype == "Int64" and decoded.large.dtype == "boolean"
    assert set(decoded.diagnosis) == {"benign", "malignant"}


def test_planted_anomalies_have_lower_scores(cancer, table, trained):
    """Columns shuffled apart from each other: each value is an ordinary one, the rows are not."""
    rng = np.random.default_rng(1)
    whole = table.encode(cancer[0])[:200]
    planted = np.stack([rng.permutation(column) for column in whole.T], axis=1)
    scores = trained.log_likelihood(np.concatenate([whole, planted]), 300, seed=0).numpy()
    assert roc_auc_score(np.repeat([0, 1], 200), -scores) > 0.8


def test_saved_models_take_other_frames(cancer, table, trained, tmp_path):
    trained.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.decoder[-1].columns == table.columns
    x = tables.encode(cancer[0][:5], again.decoder[-1].columns)
    expected = trained.log_likelihood(x, 100, seed=0)
    np.testing.assert_array_equal(again.log_likelihood(x, 100, seed=0), expected)
    endpoints = tf.saved_model.load(str(iwae_tf.export(again, tmp_path / "m", 100))).signatures
    np.testing.assert_array_equal(endpoints["serving_default"](x=tf.constant(x))["log_likelihood"], expected)
    holes = np.where(np.arange(8) % 2, np.nan, x).astype(np.float32)
    assert np.isfinite(endpoints["reconstruct"](x=tf.constant(holes))["mean"]).all()
    again.fit(x, verbose=0)
    samples = tables.decode(again.sample(4, seed=0), table.columns)
    assert samples.shape == (4, 8) and samples.points.ge(0).all()


def test_splits_train(table):
    splits = data.from_arrays(table.array, incomplete=True, batch_size=50)
    model = iwae_tf.tabular(table, (3, 2), [(16,), (8,)], objective=objectives.ImportanceWeighted(5), seed=0)
    model.compile(keras.optimizers.Adam(5e-3))
    history = model.fit(splits.train, validation_data=splits.validation, epochs=3, verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][0]


def plain(incomplete):
    model = iwae_tf.IWAE(
        encoder=[layers.IndependentNormal(2)],
        decoder=[layers.Heterogeneous({"a": "real", "b": "binary"})],
        prior=layers.StandardNormal(2),
        incomplete=incomplete,
        seed=0,
    )
    model.compile("sgd")
    return model


ROWS = np.array([[0.5, 1], [np.nan, 0], [1.5, np.nan]], np.float32)


def test_plain_network_with_holes_filled():
    """Without `TableFeatures` the network takes rows in which what is missing is 0."""
    model = plain(incomplete=True)
    assert np.isfinite(model.fit(ROWS, epochs=2, verbose=0).history["loss"]).all()
    assert np.isfinite(model.impute(ROWS, 10)).all()


def test_plain_network_does_not_read_holes():
    model = plain(incomplete=False)
    model.fit(np.nan_to_num(ROWS), verbose=0)
    for method in (model.fit, model.log_likelihood, model.impute):
        with pytest.raises(ValueError, match=r"layers.TableFeatures, or incomplete=True. Received: 2 missing entries"):
            method(ROWS)


def test_columns_written_by_hand():
    columns = [layers.Column("smoker", "category", categories=("no", "yes")), layers.Column("age", "positive")]
    frame = tables.decode(np.array([[1.0, 30.5], [np.nan, 20.0]]), columns)
    assert frame.smoker.tolist()[0] == "yes" and frame.smoker.isna().tolist() == [False, True]
    assert frame.age.tolist() == [30.5, 20.0]
