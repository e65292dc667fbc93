"""Files that are not what their names say, by the hundred: one clear error or scores, and nothing half-written."""

import contextlib
import errno
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from iwae_tf import scoring
from iwae_tf.scoring import endpoint, images
from iwae_tf.scoring.arrays import Npy
from iwae_tf.scoring.base import reporting_damage
from tests.fixtures import SETTINGS

from .conftest import read, write

KINDS = (".npy", ".npz", ".csv", ".parquet", ".tfrecord")
PARTS = ("index", "data-00000-of-00001")


def outcome(saved_model, source, destination):
    """Scores a file: a summary, or an error of the documented kinds that says what was expected or what was met."""
    destination.unlink(missing_ok=True)
    try:
        summary = scoring.score(saved_model, source, destination)
    except (ValueError, OSError) as error:
        assert str(error).startswith(("Expected", "None of")), error
        assert "\n  File " not in str(error), "no traceback"
        assert not destination.exists()
        return error
    finally:
        for path in destination.parent.glob(f"{destination.name}.*"):
            path.unlink()
    assert len(read(destination)) == summary.rows - summary.rejected
    return summary


@st.composite
def damages(draw):
    """A function of bytes that damages them, anywhere or near an end, where what says how to read them is."""
    where, what = draw(st.floats(0, 1) | st.integers(-300, 300)), draw(st.binary(min_size=1, max_size=8))
    kind = draw(st.sampled_from(["cut", "overwrite", "insert", "leave out", "flip", "other magic", "empty"]))

    def damage(content):
        at = int(where * (len(content) - 1)) if isinstance(where, float) else where % len(content)
        return {
            "cut": content[:at],
            "overwrite": content[:at] + what + content[at + len(what) :],
            "insert": content[:at] + what + content[at:],
            "leave out": content[:at] + content[at + len(what) :],
            "flip": content[:at] + bytes([content[at] ^ what[0]]) + content[at + 1 :],
            "other magic": what + content[len(what) :],
            "empty": b"",
        }[kind]

    return damage


@pytest.fixture(scope="module")
def wholes(x, tmp_path_factory):
    """The bytes of a whole file of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    return {kind: write(x, folder / f"x{kind}").read_bytes() for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(kind, saved_model, wholes, tmp_path):
    errors = []

    @SETTINGS
    @given(damages())
    def check(damage):
        source = tmp_path / f"x{kind}"
        source.write_bytes(damage(wholes[kind]))
        errors.append(isinstance(outcome(saved_model, source, tmp_path / "out.csv"), Exception))

    check()
    assert any(errors), "some of them cannot be read"


@pytest.mark.parametrize(("offset", "value"), [(6, 125), (8, 1), (8, 32), (10, 99)])
def test_archives_of_another_kind(offset, value, saved_model, wholes, tmp_path):
    """A version, an encryption, patches and a compression that there are not."""
    content = bytearray(wholes[".npz"])
    content[content.index(b"PK\x01\x02") + offset] = value
    (tmp_path / "x.npz").write_bytes(content)
    error = outcome(saved_model, tmp_path / "x.npz", tmp_path / "out.csv")
    assert str(error).startswith("Expected an undamaged .npz file"), error


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_images(kind, x):
    file = io.BytesIO()
    Image.fromarray(x[0, :, :, 0]).save(file, kind)

    @SETTINGS
    @given(damages())
    def check(damage):
        try:
            assert images.decode(damage(file.getvalue()), x.shape[1:]).shape == (64,)
        except ValueError as error:
            assert str(error).startswith("Expected")

    check()


@pytest.mark.parametrize("kind", [".npy", ".npz", ".parquet"])
def test_arrays_of_any_kind(kind, saved_model, tmp_path):
    """Shapes from none to four axes, any dtype, NaN, infinities and what lies beyond the range."""

    @SETTINGS
    @given(
        hnp.arrays(
            st.one_of(hnp.scalar_dtypes(), st.just(np.dtype("O")), hnp.unicode_string_dtypes()),
            st.one_of(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=8), st.just((2, 8, 8, 1))),
            fill=st.nothing(),
        )
        .filter(lambda array: array.size < 200)
    )  # fmt: skip
    def check(array):
        source = tmp_path / f"x{kind}"
        source.unlink(missing_ok=True)
        with contextlib.suppress(Exception):  # what cannot be written so
            np.save(source, array) if kind != ".parquet" else write(array, source)
        if source.exists():
            outcome(saved_model, source, tmp_path / "out.parquet")

    check()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_nothing_is_unpickled(suffix, saved_model, tmp_path):
    """A pickle that would make a file on being read, where the values of an array are to be."""
    mark = tmp_path / "unpickled"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(mark),)

    array = np.empty(2, object)
    array[:] = Trap(), Trap()
    source = tmp_path / f"x{suffix}"
    (np.save if suffix == ".npy" else np.savez)(source, array)
    assert isinstance(outcome(saved_model, source, tmp_path / "out.csv"), ValueError)
    source.write_bytes(pickle.dumps(Trap()))
    assert isinstance(outcome(saved_model, source, tmp_path / "out.csv"), ValueError)
    assert not mark.exists()


def test_headers_that_promise_too_much(saved_model, tmp_path):
    """Numbers of rows and sizes of records that no memory holds are not believed."""
    source = tmp_path / "x.npy"
    header = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (10**15, 8, 8, 1)}
    np.lib.format.write_array_header_1_0(header, about)
    source.write_bytes(header.getvalue() + bytes(640))
    assert "Received: 10" in str(outcome(saved_model, source, tmp_path / "out.csv"))
    about["fortran_order"] = True
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, about)
    source.write_bytes(header.getvalue() + bytes(640))
    assert isinstance(outcome(saved_model, source, tmp_path / "out.csv"), ValueError)
    records = tmp_path / "x.tfrecord"
    records.write_bytes(struct.pack("<Q", 2**62) + bytes(100))
    assert isinstance(outcome(saved_model, records, tmp_path / "out.csv"), ValueError)


def test_a_header_of_python_2_is_no_fault(saved_model, wholes, tmp_path):
    start = wholes[".npy"].index(b"20, 8, 8, 1")
    content = wholes[".npy"][:start] + b"20L,8, 8, 1" + wholes[".npy"][start + 11 :]
    (tmp_path / "x.npy").write_bytes(content)
    assert outcome(saved_model, tmp_path / "x.npy", tmp_path / "out.csv").rows == 20


def test_an_error_of_the_disk_is_not_one_of_the_file(x, tmp_path):
    source = Npy(write(x, tmp_path / "x.npy"), (8, 8, 1), "uint8")
    with pytest.raises(OSError, match="Input/output"), reporting_damage(source.path, OSError):
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(ValueError, match=r"Expected an undamaged \.npy file"), reporting_damage(source.path, OSError):
        raise OSError(errno.EINVAL, "Invalid argument")


def test_an_archive_that_leaves_its_folder(saved_model, x, tmp_path):
    source = tmp_path / "inside" / "x.npz"
    source.parent.mkdir()
    array = io.BytesIO()
    np.save(array, np.asfortranarray(x.astype(np.float32)))
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr("../evil.npy", array.getvalue())
    outcome(saved_model, source, tmp_path / "inside" / "out.csv")
    assert not (tmp_path / "evil.npy").exists()


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
)
@pytest.mark.parametrize("damage", ["cut", "gone", "garbage"])
def test_damaged_models(name, damage, saved_model, tmp_path):
    copy = tmp_path / "model"
    for path in saved_model.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(saved_model)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(saved_model)).write_bytes(path.read_bytes())
    content = (copy / name).read_bytes()
    if damage == "gone":
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(content[: len(content) // 2] if damage == "cut" else bytes(reversed(content)))
    with pytest.raises((FileNotFoundError, ValueError), match=r"Expected .*SavedModel"):
        endpoint.Scorer(copy)


def test_rows_of_any_bytes(saved_model, tmp_path):
    """Lines of a CSV file and records that hold anything."""

    @SETTINGS
    @given(st.lists(st.binary(max_size=200), min_size=1, max_size=5))
    def check(parts):
        (tmp_path / "x.csv").write_bytes(b"\n".join(parts))
        with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
            for part in parts:
                writer.write(part)
        for kind in (".csv", ".tfrecord"):
            outcome(saved_model, tmp_path / f"x{kind}", tmp_path / "out.csv")

    check()
