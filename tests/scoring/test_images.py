import io

import numpy as np
import pytest
from PIL import Image

from iwae_tf.scoring import images
from iwae_tf.scoring.sources import open_source

from .conftest import example, write_records

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)
COLOUR = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "image, shape", [(GREY, (4, 6, 1)), (GREY, (4, 6)), (COLOUR, (4, 6, 3)), (np.dstack([COLOUR, GREY]), (4, 6, 4))]
)
def test_png_is_exact(image, shape):
    np.testing.assert_array_equal(images.decode(encoded(image), shape), image.ravel())


def test_jpeg_bits_and_palettes():
    flat = np.full((8, 8), 100, np.uint8)
    np.testing.assert_allclose(images.decode(encoded(flat, "JPEG"), (8, 8, 1)), flat.ravel(), atol=1)
    np.testing.assert_array_equal(images.decode(encoded(GREY > 10), (4, 6)), 255 * (GREY > 10).ravel())
    palette = Image.fromarray(GREY).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
    found = images.decode(encoded(palette), (4, 6, 3))
    np.testing.assert_array_equal(found.reshape(4, 6, 3), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    "data, shape, reason",
    [
        (encoded(GREY), (6, 4, 1), "Expected 6 x 4 pixels, 1 channels. Received: 4 x 6 pixels, L"),
        (encoded(GREY), (4, 6, 3), "3 channels. Received: 4 x 6 pixels, L"),
        (encoded(COLOUR), (4, 6, 1), "1 channels. Received: 4 x 6 pixels, RGB"),
        (encoded(GREY.astype(np.uint16)), (4, 6, 1), "a 16-bit image"),
        (encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"), (4, 6, 3), "CMYK"),
        (encoded(GREY, "BMP"), (4, 6, 1), "Expected a PNG or JPEG"),
        (encoded(np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8))[:500], (40, 60, 1), "undamaged image"),
        (b"", (4, 6, 1), "Expected a PNG or JPEG"),
    ],
)
def test_other_images_are_not_bent_to_fit(data, shape, reason):
    with pytest.raises(ValueError, match=reason):
        images.decode(data, shape)


def test_folders(tmp_path):
    with pytest.raises(ValueError, match="Received: none in"):
        open_source(tmp_path, (4, 6, 1), "uint8")
    (tmp_path / "b").mkdir()
    for name in ("b/1.PNG", "a.png", "10.png", "9.png", ".hidden.png"):
        (tmp_path / name).write_bytes(encoded(GREY))
    (tmp_path / "c.jpeg").mkdir()
    source = open_source(tmp_path, (4, 6, 1), "uint8")
    assert [str(path.relative_to(tmp_path)) for path in source.files()] == ["10.png", "9.png", "a.png", "b/1.PNG"]
    assert len(list(source.rows(3))) == 1
    with pytest.raises(ValueError, match=r"model of images. Received: .* \(24,\)"):
        open_source(tmp_path, (24,), "uint8")


def records(path, data, dtype="uint8", start=0):
    write_records(path, data)
    return list(open_source(path, (4, 6, 1), dtype).rows(start))


def test_what_a_feature_may_hold(tmp_path):
    data = [example(x) for x in (GREY, GREY.astype(np.float32), GREY.tobytes(), encoded(GREY))]
    for start in (0, 3):
        found = records(tmp_path / "x.tfrecord", data, start=start)
        assert len(found) == 4 - start
        for row in found:
            np.testing.assert_array_equal(row.x, GREY.ravel())
    floats = GREY.astype("<f4") / 24
    np.testing.assert_array_equal(
        records(tmp_path / "f.tfrecord", [example(floats.tobytes())], "float32")[0].x, floats.ravel()
    )


def test_records_that_hold_something_else(tmp_path):
    data = [
        example(GREY), b"no example", example(GREY, "y"), example(GREY[:3]), example(b"short"), example(COLOUR),
        example(encoded(COLOUR)), example(np.zeros(0)), example(GREY),
    ]  # fmt: skip
    found = records(tmp_path / "x.tfrecord", data)
    expected = [
        None, "tf.train.Example", "feature x. Received: y", "Received: 18 values", "24 bytes of uint8, or an image",
        "Received: 72 values", "1 channels", "Received: 0 values", None,
    ]  # fmt: skip
    assert [row.reason is None for row in found] == [text is None for text in expected]
    for row, text in zip(found, expected, strict=True):
        assert text is None or text in row.reason


def test_a_damaged_record_ends_the_file(tmp_path):
    path = tmp_path / "x.tfrecord"
    write_records(path, [example(GREY)] * 5)
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    for start in (0, 4):
        found = list(open_source(path, (4, 6, 1), "uint8").rows(start))
        assert [row.reason is None for row in found] == [True, True, True, True, False][start:]
        assert "cannot be read" in found[-1].reason
    assert not list(open_source(path, (4, 6, 1), "uint8").rows(5))
