"""Runs on files of one's own: what is read, the likelihood that is chosen, and scores of the very file."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from iwae_tf import runs, scoring
from iwae_tf.runs import loading
from iwae_tf.scoring.readers import read
from tests.fixtures import invoke
from tests.scoring.conftest import example, write, write_records

SMALL = ("--latent-sizes", 2, "--hidden-sizes", "8", "-k", 3, "--epochs", 2, "--test-samples", 10)
RNG = np.random.default_rng(0)
#: A table as people have it: an identity number, mixed columns, missing values, a label and notes.
FRAME = pd.DataFrame(
    {
        "patient": [f"p{i:03d}" for i in range(60)],
        "age": RNG.integers(20, 80, 60),
        "weight": RNG.normal(70, 10, 60).round(1),
        "town": RNG.choice(["Leeds", "York", "Hull"], 60),
        "smokes": RNG.random(60) < 0.3,
        "ill": RNG.integers(0, 2, 60),
        "note": "free text",
    }
)
FRAME.loc[::7, "weight"] = np.nan
FRAME.loc[3, "town"] = None
OPTIONS = ("--id-column", "patient", "--target", "ill", "--columns", "age,weight,town,smokes")


def png(image):
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("rows", "likelihood"),
    [
        (FRAME, "table"),
        (np.array([[0, 1], [1, 1]]), "bernoulli"),
        (np.array([[False, True]]), "bernoulli"),
        (np.uint8([[0, 255]]), "bernoulli"),
        (np.uint8([[0, 255, 7]]), "logistic"),
        (np.array([[0.2, 1.0]]), "continuous-bernoulli"),
        (np.array([[0.2, np.nan]]), "table"),
        (np.array([[-0.2, 1.0]]), "table"),
        (np.array([[3, 9]]), "table"),
        (np.zeros([2, 3, 3, 1]) + 0.5, "continuous-bernoulli"),
    ],
)
def test_the_likelihood_fits_the_values(rows, likelihood):
    assert loading.choose_likelihood(rows) == likelihood


@pytest.mark.parametrize(
    ("value", "message"),
    [(7.0, r"Expected images of uint8 .* Received: float64 of shape \[2, 3, 3\]"), (np.nan, "missing values only")],
)
def test_values_without_a_likelihood(value, message):
    with pytest.raises(ValueError, match=message):
        loading.choose_likelihood(np.full([2, 3, 3], value))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.parquet", "x.tfrecord"])
def test_files_of_every_kind(name, x, tmp_path):
    rows = read(write(x, tmp_path / name)).rows
    np.testing.assert_array_equal(np.asarray(rows).reshape(x.shape), x)
    assert len(read(tmp_path / name, limit=7).rows) == 7


def test_folders(x, tmp_path):
    """Shards of records, parts of a table, and images, whose names identify them."""
    for kind in ("records", "parts", "images"):
        (tmp_path / kind).mkdir()
    for i, part in enumerate(np.split(x, [4, 11])):
        write(part, tmp_path / "parts" / f"part-{i}.parquet")
        shard = tmp_path / "records" / f"x.tfrecord-{i:05d}-of-00003"
        write_records(shard, [example(png(image[..., 0])) for image in part])
    for i, image in enumerate(x):
        (tmp_path / "images" / f"{i:02d}.png").write_bytes(png(image[..., 0]))
    np.testing.assert_array_equal(read(tmp_path / "records").rows, x)
    np.testing.assert_array_equal(read(tmp_path / "records" / "x.tfrecord-00000-of-00003").rows, x[:4])
    np.testing.assert_array_equal(read(tmp_path / "parts", 15).rows, x.reshape(20, -1)[:15])
    rows, names = read(tmp_path / "images", 12)
    np.testing.assert_array_equal(rows, x[:12])
    assert names.tolist() == [f"{i:02d}.png" for i in range(12)]
    (tmp_path / "images" / "05.png").write_bytes(png(np.zeros((3, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"Expected 8 x 8 pixels.*; file 05.png of .*images"):
        read(tmp_path / "images")


def test_csv_with_and_without_a_header(tmp_path):
    """The index that pandas writes is no column."""
    rows = np.arange(12.0).reshape(4, 3) / 10
    pd.DataFrame(rows, columns=["a", "b", "c"]).to_csv(tmp_path / "index.csv")
    pd.DataFrame(rows).to_csv(tmp_path / "none.csv", index=False, header=False)
    assert list(read(tmp_path / "index.csv").rows) == ["a", "b", "c"]
    np.testing.assert_array_equal(read(tmp_path / "none.csv").rows, rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"1", "Expected a file that ends in .csv"),
        ("x.csv", b"", "undamaged .csv"),
        ("x.csv", b"a,b\n1,2\n1,2,3\n", "undamaged .csv"),
        ("x.parquet", b"PAR1", "undamaged .parquet"),
        ("x.npy", b"no array", "undamaged .npy"),
        ("x.npz", b"PK", "undamaged .npz"),
        ("x.tfrecord", b"", "at least one record"),
        ("x.csv", b"a,b\n", "at least one row"),
        ("x.csv", b"a,b\n1,2\n3,4\n", "at least 6 rows"),
    ],
)
def test_bad_files(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    result = invoke("train", *SMALL, "--data", tmp_path / name, "-o", tmp_path / "run")
    assert result.exit_code == 1 and message in result.output, result.output
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing half-written"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--columns", "age,height"), "Expected columns ['height'] in"),
        (("--columns", "age,note"), "categories in column 'note'. Received: only 'free text'; leave the column out"),
        (("--target", "sick"), "Expected columns ['sick']"),
        (("--likelihood", "bernoulli"), "Expected numeric columns"),
        (("--network", "conv"), "network 'mlp'"),
        (("--target", "age"), "Received: ['age'] among"),
        (("--event-shape", "2,2"), "Expected no event_shape for a table"),
        (("--limit", 0), "limit must be a positive integer"),
        (("--limit", 2), "at least 6 rows"),
    ],
)
def test_bad_options(options, message, tmp_path):
    FRAME.to_csv(tmp_path / "x.csv", index=False)
    result = invoke("train", *SMALL, *OPTIONS, "--data", tmp_path / "x.csv", "-o", tmp_path / "run", *options)
    assert result.exit_code == 1 and message in " ".join(result.output.split()), result.output
    assert not list(tmp_path.glob("run*")), "nothing half-written"


def test_an_id_column_with_the_name_of_a_column_of_scores(tmp_path):
    """It is refused before the training, not by the export after it."""
    FRAME.rename(columns={"patient": "row"}).to_csv(tmp_path / "x.csv", index=False)
    with pytest.raises(ValueError, match="Expected an id_column that is none of row"):
        loading.load(runs.Config(data=str(tmp_path / "x.csv"), id_column="row"))


def test_columns_keep_the_order_of_the_file(tmp_path):
    """Rows are scored in that order, since the columns of such a model have no names."""
    pd.DataFrame({"a": np.ones(9), "b": np.zeros(9), "c": 0.5}).to_csv(tmp_path / "x.csv", index=False)
    config = runs.Config(data=str(tmp_path / "x.csv"), columns=("b", "a"), likelihood="bernoulli")
    assert loading.load(config).mean.tolist() == [1, 0]


def test_the_target_labels_the_rows(tmp_path):
    FRAME.assign(age=range(60), ill=np.arange(60) % 3).to_csv(tmp_path / "x.csv", index=False)
    config = runs.Config(data=str(tmp_path / "x.csv"), columns=("age", "weight"), target="ill")
    splits = loading.load(config).splits
    for part, labels in ((splits.validation, splits.validation_labels), (splits.test, splits.test_labels)):
        ages = np.concatenate([np.asarray(batch) for batch in part])[:, 0]
        assert labels.tolist() == (ages % 3).tolist()


def test_options_of_files_need_a_file():
    for options in ({"columns": ("a",)}, {"id_column": "a"}, {"target": "a"}, {"limit": 3}, {"event_shape": (2,)}):
        with pytest.raises(ValueError, match=f"Expected data, a file .--data., with {next(iter(options))}"):
            runs.Config(**options)
    with pytest.raises(ValueError, match=r"data or a dataset, not both. Received: 'x.csv' and 'mnist'"):
        runs.Config(data="x.csv", dataset="mnist")
    with pytest.raises(ValueError, match="Expected a table of columns"):
        runs.build(runs.Config(likelihood="table"), loading.load(runs.Config(epochs=1)))


def test_a_table_from_its_file_to_its_scores(tmp_path):
    """The file that was trained on is scored, and evaluated, as it is."""
    FRAME.to_csv(tmp_path / "patients.csv")
    result = invoke("train", *SMALL, *OPTIONS, "--data", tmp_path / "patients.csv", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "48 rows to train on, 6 to validate, 6 to test" in result.output
    assert "age (count), weight (real), town (category), smokes (binary); likelihood: table" in result.output
    config = runs.Config.read(tmp_path / "run")
    assert config.likelihood == "table" and config.columns == ("age", "weight", "town", "smokes")
    samples = pd.read_csv(tmp_path / "run" / "samples.csv")
    assert list(samples) == list(config.columns) and set(samples.town) <= {"Leeds", "York", "Hull"}
    assert not (tmp_path / "run" / "samples.png").exists()

    scoring.score(tmp_path / "run" / "saved_model", tmp_path / "patients.csv", tmp_path / "scores.csv")
    scores = pd.read_csv(tmp_path / "scores.csv", index_col="patient")
    assert list(scores.index) == list(FRAME.patient)
    test = pd.read_csv(tmp_path / "run" / "test_log_likelihood.csv", index_col="patient")
    np.testing.assert_allclose(test.log_likelihood, scores.log_likelihood[test.index], rtol=1e-5)
    before = json.loads((tmp_path / "run" / "metrics.json").read_text())
    result = invoke("evaluate", tmp_path / "run", "--test-samples", 10)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == before


def test_grey_images_of_a_file(digits, tmp_path):
    """Flat rows get a shape, and the likelihood of grey values."""
    images = np.concatenate([batch.numpy() for batch in digits.test])
    np.save(tmp_path / "x.npy", images.reshape(len(images), -1).astype(np.int64))
    options = ("--event-shape", "8,8,1", "--limit", 100, "--likelihood", "logistic")
    result = invoke("train", *SMALL, *options, "--data", tmp_path / "x.npy", "-o", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "80 rows to train on" in result.output and "uint8 of shape (8, 8, 1); likelihood: logistic" in result.output
    assert (tmp_path / "run" / "samples.png").exists()
    assert runs.load_model(tmp_path / "run").event_shape == (8, 8, 1)


def test_columns_are_those_of_tables_only(x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match=r"Expected a \.csv or \.parquet file, which has columns"):
        loading.load(runs.Config(data=str(tmp_path / "x.npy"), columns=("a",)))
    np.save(tmp_path / "counts.npy", np.arange(40.0).reshape(10, 4))
    with pytest.raises(ValueError, match=r"'normal'. Received: float64 in \[0, 39\].*--likelihood table"):
        loading.load(runs.Config(data=str(tmp_path / "counts.npy"), likelihood="normal"))
    with pytest.raises(ValueError, match="rows of 5 values, as event_shape says"):
        loading.load(runs.Config(data=str(tmp_path / "x.npy"), event_shape=(5,)))
