"""Rows that are images, or records of `tf.train.Example`, which may hold images."""

import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from google.protobuf.message import DecodeError
from PIL import Image, UnidentifiedImageError

from iwae_tf.scoring.base import Row, Source

_CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def decode(data: bytes, event_shape: Sequence[int]) -> np.ndarray:
    """Decodes a PNG or JPEG image with the model's height, width and channels.

    Returns:
      uint8 `[size]`.

    Raises:
      ValueError: if the image has another shape or depth, is damaged, or is of another format.
    """
    height, width, channels = (*event_shape, 1)[:3]
    with _open(data) as (image, mode):
        if (image.height, image.width, _CHANNELS.get(mode)) != (height, width, channels):
            received = f"{image.height} x {image.width} pixels, {mode}"
            raise ValueError(f"Expected {height} x {width} pixels, {channels} channels. Received: {received}")
        return np.asarray(image.convert(mode)).reshape(-1)


def find_shape(data: bytes) -> tuple[int, int, int]:
    """Returns height, width and channels of a PNG or JPEG image; raises a `ValueError` as `decode` does."""
    with _open(data) as (image, mode):
        if mode not in _CHANNELS:
            raise ValueError(f"Expected an image of {', '.join(_CHANNELS)}. Received: {mode}")
        return image.height, image.width, _CHANNELS[mode]


def is_encoded(data: bytes) -> bool:
    """Returns whether bytes are a PNG or JPEG image."""
    return data.startswith((_PNG, _JPEG))


@contextlib.contextmanager
def _open(data: bytes) -> Iterator[tuple[Image.Image, str]]:
    """Opens an image, and names the mode in which to read it."""
    if data.startswith(_PNG) and data[24:25] == b"\x10":  # Pillow would drop half of the 16 bits.
        raise ValueError("Expected an 8-bit image. Received: a 16-bit image")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            # Bits become greys, palettes colours.
            yield image, {"1": "L", "P": "RGB"}.get(image.mode, image.mode)
    except UnidentifiedImageError:
        raise ValueError("Expected a PNG or JPEG image. Received: another format") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"Expected an undamaged image. Received: {error}") from error


class TFRecord(Source):
    """Records of `tf.train.Example`, with a feature `x` that holds all values of a row.

    The feature is a list of floats or integers, or one string of bytes: a PNG or JPEG image, or the values in the
    model's dtype, little-endian, in row-major order.
    """

    def rows(self, start: int) -> Iterator[Row]:
        for record in itertools.islice(self._records(), start, None):
            if isinstance(record, Row):
                yield record
                continue
            try:
                yield Row(self._values(record))
            except ValueError as error:
                yield Row(None, str(error))

    def _records(self) -> Iterator[bytes | Row]:
        """Yields the bytes of every record, and at a damaged record, which ends the file, a `Row` with the reason."""
        try:
            for record in tf.data.TFRecordDataset(str(self.path)):
                yield record.numpy()
        except tf.errors.DataLossError as error:
            yield Row(None, f"Expected an undamaged record. Received: {error.message}; what follows cannot be read")

    def _values(self, record: bytes) -> np.ndarray:
        kind, values = _read_feature(record)
        x = self._from_bytes(values) if kind == "bytes_list" else np.array(values)
        self.check_size(x.size)
        return x

    def _from_bytes(self, values: Sequence[bytes]) -> np.ndarray:
        if len(values) != 1:
            raise ValueError(f"Expected one string of bytes. Received: {len(values)}")
        if is_encoded(values[0]):
            return decode(values[0], self.event_shape)
        expected = self.size * self.dtype.itemsize
        if len(values[0]) != expected:
            raise ValueError(
                f"Expected {expected} bytes of {self.dtype}, or an image. Received: {len(values[0])} bytes"
            )
        return np.frombuffer(values[0], self.dtype.newbyteorder("<"))


def _read_feature(record: bytes) -> tuple[str | None, Sequence[Any]]:
    """Returns the kind and the values of the feature `x` of a record."""
    try:
        features = tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError(f"Expected a tf.train.Example. Received: {error}") from error
    if "x" not in features:
        raise ValueError(f"Expected a feature x. Received: {', '.join(sorted(features)) or 'none'}")
    kind = features["x"].WhichOneof("kind")
    return kind, getattr(features["x"], kind).value if kind else ()


def describe_record(record: bytes) -> tuple[tuple[int, ...], np.dtype]:
    """Returns the shape and the dtype of the observation in a record: of an image, or of a list of numbers.

    Raises:
      ValueError: if the record holds neither.
    """
    kind, values = _read_feature(record)
    if kind != "bytes_list":
        return (len(values),), np.array(values).dtype
    if len(values) != 1 or not is_encoded(values[0]):
        raise ValueError("Expected a list of numbers, or one PNG or JPEG image. Received: other bytes")
    return find_shape(values[0]), np.dtype(np.uint8)


def is_image(path: Path) -> bool:
    """Returns whether a file is an image by its name; hidden files are ignored."""
    return path.suffix.lower() in (".png", ".jpg", ".jpeg") and path.name[0] != "." and path.is_file()


def list_images(path: Path) -> list[str]:
    """Returns the names of the images of a folder and its subfolders, in order."""
    return sorted(image.relative_to(path).as_posix() for image in path.rglob("*") if is_image(image))


class Images(Source):
    """PNG and JPEG files of a folder and its subfolders, in the order of their names; other files are ignored."""

    where = ("file",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if len(self.event_shape) not in (2, 3):
            raise ValueError(f"Expected a model of images. Received: a model of shape {self.event_shape}")
        self._names = list_images(self.path)
        if not self._names:
            raise ValueError(f"Expected PNG or JPEG files. Received: none in {self.path}")
        self.total = len(self._names)

    def rows(self, start: int) -> Iterator[Row]:
        for path in self.files()[start:]:
            try:
                yield Row(decode(path.read_bytes(), self.event_shape))
            except (OSError, ValueError) as error:
                yield Row(None, str(error))

    def files(self) -> list[Path]:
        return [self.path / name for name in self._names]

    def with_names(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        names = [
            self._names[i].encode(errors="surrogateescape").decode(errors="replace") for i in batch["row"].to_pylist()
        ]
        return batch.set_column(0, "file", pa.array(names, pa.string()))
