"""The folder of the reproductions: their runs, data and results."""

import dataclasses
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from iwae_tf import data
from iwae_tf.files import write_whole
from iwae_tf.runs.config import INCIDENTAL, Config


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Names the files of reproductions, so that runs which several of them need are trained once.

    Attributes:
      folder: the folder.
      data_dir: folder of prepared TFDS data.
      writers: functions that write the data files, by path; they run when a run needs the file.
    """

    folder: Path
    data_dir: str | None = None
    writers: dict[str, Callable[[Path], object]] = dataclasses.field(default_factory=dict)

    def find_run(self, config: Config) -> Path:
        """Returns the run folder of a configuration, whether it exists or not."""
        # Only what differs from the defaults, so that a new option renames no run. Diagnostics are read later.
        ignored = set(INCIDENTAL) - {"diagnose", "diagnose_every"}
        options = {name: v for name, v in dataclasses.asdict(config).items() if name not in ignored}
        changed = {name: v for name, v in options.items() if v != getattr(Config, name)}
        # Files by their names, so that the whole folder may be moved.
        changed |= {name: Path(changed[name]).name for name in ("data", "start_from") if name in changed}
        digest = zlib.crc32(repr(sorted(changed.items())).encode())
        source = Path(config.source).stem
        layers = len(config.latent_sizes)
        name = f"{source}-{config.objective}-k{config.num_samples}-{layers}l-{digest:08x}"
        return self.folder.resolve() / "models" / name

    def plan_data(self, name: str, write: Callable[[Path], object]) -> str:
        """Returns the path of a data file, which `write_data` makes by this function."""
        path = os.fspath(self.folder.resolve() / "data" / name)
        self.writers[path] = write
        return path

    def plan_rows(self, name: str, make: Callable[[], np.ndarray]) -> str:
        """Returns the path of a .npy file of these rows."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, make())

        return self.plan_data(f"{name}.npy", write)

    def write_data(self, path: str) -> None:
        """Writes a data file that was planned, unless it exists."""
        if not Path(path).exists():
            with write_whole(path) as part:
                self.writers[path](part)

    def load_training_data(self, dataset: str) -> np.ndarray:
        """Returns the training data of a data set."""
        return np.asarray(data.NAMES[dataset](self.data_dir)[0])
