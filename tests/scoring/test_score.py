import numpy as np
import pandas as pd
import pytest
from PIL import Image

import iwae_tf
from iwae_tf import scoring
from tests.fixtures import small_model

from .conftest import read, write

KINDS = [".npy", ".npz", ".csv", ".parquet", ".tfrecord"]
COLUMNS = ["log_likelihood", "standard_error", "effective_sample_size"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("out", [".csv", ".parquet"])
def test_every_kind_of_file(kind, out, saved_model, expected, x, tmp_path):
    source, destination = write(x, tmp_path / f"x{kind}"), tmp_path / f"scores{out}"
    summary = scoring.score(saved_model, source, destination, batch_size=7)
    written = read(destination)
    assert list(written.columns) == ["row", *COLUMNS]
    np.testing.assert_array_equal(written.row, range(20))
    np.testing.assert_array_equal(written.log_likelihood.astype(np.float32), expected)
    assert (summary.rows, summary.rejected, summary.rejected_path, summary.resumed_at) == (20, 0, None, 0)
    assert summary.path == destination
    np.testing.assert_allclose(summary.mean_log_likelihood, expected.mean(dtype=np.float64))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([destination.name, source.name])


def test_images_are_named(saved_model, expected, x, tmp_path):
    (tmp_path / "images" / "more").mkdir(parents=True)
    for i, image in enumerate(x):
        folder = "more" if i >= 10 else "."
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / folder / f"{i:02}.png")
    (tmp_path / "images" / "03.png").write_bytes(b"no image")
    Image.fromarray(x[4, :7, :, 0]).save(tmp_path / "images" / "04.png")
    (tmp_path / "images" / "notes.txt").write_text("no row")
    summary = scoring.score(saved_model, tmp_path / "images", tmp_path / "scores.csv", batch_size=7)
    table = read(tmp_path / "scores.csv")
    names = [f"{i:02}.png" if i < 10 else f"more/{i:02}.png" for i in range(20)]
    assert list(table.file) == [name for i, name in enumerate(names) if i not in (3, 4)]
    np.testing.assert_array_equal(table.log_likelihood.astype(np.float32), np.delete(expected, [3, 4]))
    rejected = pd.read_csv(summary.rejected_path)
    assert list(rejected.columns) == ["file", "reason"] and list(rejected.file) == ["03.png", "04.png"]
    assert "Expected a PNG or JPEG" in rejected.reason[0] and "Received: 7 x 8 pixels" in rejected.reason[1]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_the_model_does_not_take_are_listed(kind, saved_model, expected, x, tmp_path):
    values = x.astype(np.float64)
    values[2, 0, 0], values[3, 0, 0], values[9, 1, 1] = 0.5, -1, 256
    if kind in (".npy", ".npz"):
        values[11] = np.inf
    bad = [2, 3, 9, 11] if kind in (".npy", ".npz") else [2, 3, 9]
    summary = scoring.score(saved_model, write(values, tmp_path / f"x{kind}"), tmp_path / "out.csv", batch_size=4)
    assert (summary.rows, summary.rejected) == (20, len(bad))
    table, rejected = read(tmp_path / "out.csv"), pd.read_csv(tmp_path / "out.csv.rejected.csv")
    np.testing.assert_array_equal(table.row, np.delete(np.arange(20), bad))
    np.testing.assert_array_equal(table.log_likelihood.astype(np.float32), np.delete(expected, bad))
    assert list(rejected.row) == bad and rejected.reason[0].startswith("Expected uint8 values, as in training")
    if kind == ".csv":
        np.testing.assert_array_equal(rejected.line, rejected.row + 2)


def test_rows_that_the_model_refuses_itself_are_found(x, tmp_path):
    floats = x.astype(np.float32) / 255
    model = small_model()
    model.encode(floats)
    path = iwae_tf.export(model, tmp_path / "m", 10)
    expected = model.log_likelihood(floats, 10, seed=0).numpy()
    floats[5, 0, 0], floats[6], floats[18, 7, 7] = 1.5, np.nan, -0.25
    summary = scoring.score(path, write(floats, tmp_path / "x.npy"), tmp_path / "out.csv", batch_size=8)
    np.testing.assert_array_equal(
        read(tmp_path / "out.csv").log_likelihood.astype(np.float32), np.delete(expected, [5, 6, 18])
    )
    rejected = pd.read_csv(summary.rejected_path)
    assert list(rejected.row) == [5, 6, 18]
    assert rejected.reason[0].startswith("Expected floats in [0, 1]. Received") and "1.5" in rejected.reason[0]


BAD = {
    "fractions": (lambda x: x / 255, "uint8 values, as in training. Received: float"),
    "negative": (lambda x: x.astype(int) - 300, "uint8 values"),
    "missing": (lambda x: np.where(x >= 0, np.nan, x), "missing or not finite"),
    "wide": (lambda x: x[:, :7], r"64 values in each row, of shape \(8, 8, 1\). Received: 56"),
    "empty": (lambda x: x[:0], "no rows"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("kind", KINDS)
def test_sources_of_which_nothing_can_be_scored(case, kind, saved_model, x, tmp_path):
    change, message = BAD[case]
    source = write(change(x), tmp_path / f"x{kind}")
    with pytest.raises(ValueError, match=message):
        scoring.score(saved_model, source, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [source], "nothing half-written"


def test_a_source_of_another_kind_is_an_error_early(saved_model, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "MAX_REJECTED_FIRST", 30)
    with (tmp_path / "x.csv").open("w") as file:
        file.writelines("1,2,3\n" for _ in range(1000))
    with pytest.raises(ValueError, match=r"None of 40 rows .* row 0, line 1: Expected 64 values .* Received: 3 values"):
        scoring.score(saved_model, tmp_path / "x.csv", tmp_path / "out.csv", batch_size=20)


def test_bad_arguments(saved_model, x, tmp_path):
    source = write(x, tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"ends in .csv, .npy, .npz, .parquet"):
        scoring.score(saved_model, tmp_path / "x.txt", tmp_path / "out.csv")
    with pytest.raises(ValueError, match=r"ends in .csv, .parquet"):
        scoring.score(saved_model, source, tmp_path / "out.txt")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        scoring.score(saved_model, tmp_path / "none.npy", tmp_path / "out.csv")
    with pytest.raises(FileNotFoundError, match="SavedModel"):
        scoring.score(tmp_path, source, tmp_path / "out.csv")
    with pytest.raises(ValueError, match="batch_size"):
        scoring.score(saved_model, source, tmp_path / "out.csv", batch_size=0)
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(FileExistsError, match="exists"):
        scoring.score(saved_model, source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "precious"


def test_overwriting_leaves_no_old_list_of_rejected_rows(saved_model, x, tmp_path):
    values = x.astype(np.float64)
    values[0] = 0.5
    scoring.score(saved_model, write(values, tmp_path / "x.npy"), tmp_path / "out.csv")
    assert (tmp_path / "out.csv.rejected.csv").exists()
    summary = scoring.score(saved_model, write(x, tmp_path / "x.npy"), tmp_path / "out.csv", overwrite=True)
    assert summary.rejected == 0 and len(read(tmp_path / "out.csv")) == 20
    assert not (tmp_path / "out.csv.rejected.csv").exists()


def test_a_column_of_standard_errors_that_are_nan(small, x, tmp_path):
    path = iwae_tf.export(small, tmp_path / "m", 1)
    for out in ("out.csv", "out.parquet"):
        scoring.score(path, write(x, tmp_path / "x.npy"), tmp_path / out)
        table = read(tmp_path / out)
        assert table.standard_error.isna().all() and (table.effective_sample_size == 1).all()
