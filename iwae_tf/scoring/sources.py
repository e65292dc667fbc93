"""The kinds of sources."""

from pathlib import Path

from iwae_tf.scoring.arrays import Npy, Npz
from iwae_tf.scoring.images import Images, TFRecord
from iwae_tf.scoring.tables import Csv, Parquet

KINDS = {".csv": Csv, ".npy": Npy, ".npz": Npz, ".parquet": Parquet, ".tfrecord": TFRecord}


def check_kind(path):
    """Raises an error unless the path is a source of a known kind: `ValueError`, or `FileNotFoundError`."""
    path = Path(path)
    if path.suffix not in KINDS and not path.is_dir():
        raise ValueError(f"Expected a folder of images, or a file that ends in {', '.join(KINDS)}. Received: {path}")
    if not path.exists():
        raise FileNotFoundError(f"Expected a file to score. Received: {path}, which does not exist")


def open_source(path, event_shape, dtype):
    """Makes the `Source` of a file or folder, for a model of such observations."""
    path = Path(path)
    return (Images if path.is_dir() else KINDS[path.suffix])(path, event_shape, dtype)
