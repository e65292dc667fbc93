import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

import iwae_tf
from iwae_tf import data, layers, objectives, tables

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
    with pytest.raises(ValueError, match="integers of at least 0 in column 'children'"):
        table.encode(FRAME.assign(children=[0, -1, 0, 0]))
    with pytest.raises(ValueError, match="Expected numbers in column 'height'"):
        table.encode(FRAME.assign(height="tall"))
    with pytest.raises(ValueError, match=r"shape \[n, 8\]"):
        table.decode(table.array[:, :7])


BAD = {
    "array": (lambda: np.zeros((3, 2)), {}, TypeError, "pandas DataFrame"),
    "empty": (lambda: FRAME[:0], {}, ValueError, "0 rows"),
    "twice": (lambda: pd.concat([FRAME, FRAME], axis=1), {}, ValueError, "different names"),
    "other names": (lambda: FRAME, {"width": "real"}, ValueError, r"Received: \['width'\]"),
    "kind": (lambda: FRAME, {"height": "text"}, ValueError, "Received: 'text'"),
    "dates": (lambda: FRAME.assign(day=pd.Timestamp(0)), {}, TypeError, "'day' of dtype datetime64"),
    "objects": (lambda: FRAME.assign(town=[(1,), (2,), (1,), (2,)]), {}, TypeError, "strings, numbers or bools"),
    "no values": (lambda: FRAME.assign(height=np.nan), {}, ValueError, "'height' to hold a value"),
    "one category": (lambda: FRAME.assign(town="York"), {}, ValueError, "two or more"),
    "not positive": (lambda: FRAME, {"balance": "positive"}, ValueError, "above 0 in column 'balance'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_frames(case):
    make, columns, error, message = BAD[case]
    with pytest.raises(error, match=message):
        data.from_dataframe(make(), columns)


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
    model.compile("adam")
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
