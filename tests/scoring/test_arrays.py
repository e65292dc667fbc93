import numpy as np
import pytest

from iwae_tf.scoring import arrays
from iwae_tf.scoring.sources import open_source


def rows(path, start=0, event_shape=(2, 3)):
    return np.array([row.x for row in open_source(path, event_shape, "uint8").rows(start)]).reshape(-1, 6)


@pytest.mark.parametrize("kind", [".npy", ".npz"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_blocks_in_either_order(kind, order, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK", 4 * 6 * 8)  # four rows
    x = np.asarray(np.arange(66.0).reshape(11, 2, 3), order=order)
    path = tmp_path / f"x{kind}"
    np.save(path, x) if kind == ".npy" else np.savez_compressed(path, labels=np.zeros(11), x=x)
    for start in (0, 3, 4, 11):
        np.testing.assert_array_equal(rows(path, start), x.reshape(11, 6)[start:])
    assert open_source(path, (2, 3, 1), "uint8").total == 11


@pytest.mark.parametrize("kind", [".npy", ".npz"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("event_shape", "shape"),
    [
        ((8, 8, 3), (8, 8, 3)),
        ((8, 8, 3), (192,)),
        ((8, 8, 1), (8, 8)),
        ((8, 8), (8, 8, 1)),
        ((8, 8, 1), (1, 8, 8)),
        ((6,), (6,)),
        ((1,), ()),
        ((1,), (1, 1)),
        ((2, 1, 3, 2), (2, 3, 2)),
    ],
)
def test_rows_of_the_shape_of_the_model(event_shape, shape, order, kind, tmp_path):
    x = np.asarray(np.arange(4 * np.prod(event_shape)).reshape(4, *shape) % 251, order=order)
    np.save(tmp_path / "x.npy", x), np.savez(tmp_path / "x.npz", x=x)
    found = [row.x for row in open_source(tmp_path / f"x{kind}", event_shape, "uint8").rows(0)]
    np.testing.assert_array_equal(found, x.reshape(4, -1))


@pytest.mark.parametrize("kind", [".npy", ".npz"])
@pytest.mark.parametrize(
    ("event_shape", "shape"),
    [
        ((8, 8, 3), (3, 8, 8)),
        ((4, 16, 1), (16, 4, 1)),
        ((4, 16, 1), (8, 8, 1)),
        ((4, 16), (16, 4)),
        ((2, 3, 4), (6, 4)),
        ((6,), (2, 3)),
        ((2, 3), (1, 1, 3, 2)),
    ],
)
def test_rows_of_as_many_values_in_another_shape(event_shape, shape, kind, tmp_path):
    x = np.zeros((4, *shape))
    np.save(tmp_path / "x.npy", x), np.savez(tmp_path / "x.npz", x=x)
    expected = rf"\[n, {', '.join(map(str, event_shape))}\] or of flat rows, \[n, {np.prod(event_shape)}\]"
    received = rf"Received: shape \[4, {', '.join(map(str, shape))}\]"
    with pytest.raises(ValueError, match=f"Expected an array of shape {expected}. {received}"):
        open_source(tmp_path / f"x{kind}", event_shape, "uint8")


def test_the_array_of_a_npz(tmp_path):
    x = np.ones((3, 6))
    np.savez(tmp_path / "one.npz", images=x)
    assert rows(tmp_path / "one.npz").shape == (3, 6)
    np.savez(tmp_path / "two.npz", a=x, b=x)
    with pytest.raises(ValueError, match=r"named x, or a single array. Received: a, b"):
        rows(tmp_path / "two.npz")


def test_what_is_no_array_of_rows(tmp_path):
    for name, x in {"object": np.array([{}], object), "text": np.array(["a"]), "scalar": np.array(1.0)}.items():
        np.save(tmp_path / f"{name}.npy", x, allow_pickle=True)
        with pytest.raises(ValueError, match="array of rows of numbers"):
            rows(tmp_path / f"{name}.npy")
    (tmp_path / "no.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="magic string"):
        rows(tmp_path / "no.npy")
    (tmp_path / "no.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"undamaged .npz file"):
        rows(tmp_path / "no.npz")


def test_files_that_end_too_early(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((10, 6)))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-50])
    with pytest.raises(ValueError, match=r"Expected 10 rows .* Received: 8"):
        rows(tmp_path / "x.npy")


def test_a_damaged_npz(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(6000.0).reshape(1000, 6))
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[30_000] ^= 1
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"undamaged .npz file. .* CRC"):
        rows(tmp_path / "x.npz")
