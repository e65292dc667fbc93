import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import scoring

from .conftest import small_model


@pytest.fixture(scope="module")
def saved_model(trained, tmp_path_factory):
    return iwae_tf.export(trained, tmp_path_factory.mktemp("export") / "model", num_samples=50)


def write(x, path):
    table = pd.DataFrame(x.reshape(len(x), int(np.prod(x.shape[1:])))).rename(columns=lambda i: f"pixel_{i}")
    {
        ".npy": lambda: np.save(path, x),
        ".npz": lambda: np.savez(path, x=x, label=np.zeros(len(x))),
        ".csv": lambda: table.to_csv(path, index=False),
        ".parquet": lambda: table.to_parquet(path),
    }[path.suffix]()
    return path


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv", ".parquet"])
@pytest.mark.parametrize("out", [".csv", ".parquet"])
def test_every_kind_of_file(kind, out, saved_model, trained, x, tmp_path):
    source, destination = write(x, tmp_path / f"x{kind}"), tmp_path / f"scores{out}"
    table = scoring.score(saved_model, source, destination, batch_size=7)
    np.testing.assert_array_equal(table.log_likelihood, trained.log_likelihood(x, 50, seed=0))
    written = pd.read_csv(destination) if out == ".csv" else pd.read_parquet(destination)
    assert list(written.columns) == ["log_likelihood", "standard_error", "effective_sample_size"]
    np.testing.assert_allclose(written.log_likelihood, table.log_likelihood, rtol=1e-6)
    assert len(written) == len(x)


def test_csv_without_a_header(saved_model, trained, x, tmp_path):
    np.savetxt(tmp_path / "x.csv", x.reshape(20, -1), fmt="%d", delimiter=",")
    table = scoring.score(saved_model, tmp_path / "x.csv", tmp_path / "out.csv")
    np.testing.assert_array_equal(table.log_likelihood, trained.log_likelihood(x, 50, seed=0))


def test_floats_that_are_integers_are_taken(saved_model, x, tmp_path):
    table = scoring.score(saved_model, write(x.astype(np.float64), tmp_path / "x.npy"), tmp_path / "out.csv")
    assert len(table) == 20


BAD = {
    "fractions": (lambda x: x / 255, "uint8 values, as in training. Received: float64"),
    "negative": (lambda x: x.astype(int) - 1, "uint8 values"),
    "wide": (lambda x: x[:, :7], r"64 values in each row, of shape \(8, 8, 1\). Received: 56"),
    "missing": (lambda x: np.where(x == x.max(), np.nan, x), "missing or not finite"),
    "empty": (lambda x: x[:0], "no rows"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("kind", [".npy", ".csv"])
def test_bad_rows(case, kind, saved_model, x, tmp_path):
    change, message = BAD[case]
    source = write(change(x), tmp_path / f"x{kind}")
    with pytest.raises(ValueError, match=message):
        scoring.score(saved_model, source, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_values_the_model_refuses(x, tmp_path):
    floats = x.astype(np.float32)
    model = small_model()
    model.encode(floats / 255)
    path = iwae_tf.export(model, tmp_path / "m", 10)
    with pytest.raises(ValueError, match=r"refuses rows 0 to 19 of .*: Expected floats in \[0, 1\]"):
        scoring.score(path, write(floats, tmp_path / "x.npy"), tmp_path / "out.csv")


def test_bad_files(saved_model, x, tmp_path):
    source = write(x, tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"ends in .csv, .npy, .npz, .parquet"):
        scoring.score(saved_model, tmp_path / "x.txt", tmp_path / "out.csv")
    with pytest.raises(ValueError, match=r"ends in .csv, .parquet"):
        scoring.score(saved_model, source, tmp_path / "out.txt")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        scoring.score(saved_model, tmp_path / "none.npy", tmp_path / "out.csv")
    with pytest.raises(FileNotFoundError, match="SavedModel"):
        scoring.score(tmp_path, source, tmp_path / "out.csv")
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(FileExistsError, match="exists"):
        scoring.score(saved_model, source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "precious"
    np.savez(tmp_path / "two.npz", a=x, b=x)
    with pytest.raises(ValueError, match="named x"):
        scoring.score(saved_model, tmp_path / "two.npz", tmp_path / "new.csv")
    pd.DataFrame({"a": ["text"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="numeric columns"):
        scoring.score(saved_model, tmp_path / "x.parquet", tmp_path / "new.csv")
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        scoring.score(saved_model, tmp_path / "object.npy", tmp_path / "new.csv")


def test_failure_leaves_no_part(saved_model, x, tmp_path):
    with pytest.raises(ValueError):
        scoring.score(saved_model, write(x / 255, tmp_path / "x.npy"), tmp_path / "out.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.npy"]
    assert tf.io.gfile.exists(str(saved_model))
