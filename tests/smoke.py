"""Tries an installed package: `python -I tests/smoke.py IWAE_TF`, the path of its command, away from the sources."""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd

import iwae_tf

command = str(pathlib.Path(sys.argv[1]).absolute())
if pathlib.Path(__file__).parents[1] / "iwae_tf" == pathlib.Path(iwae_tf.__file__).parent:
    raise SystemExit("Expected the installed package. Received: the sources")

model = iwae_tf.load_pretrained("mnist_iwae_1l")
x = (model.sample(3, seed=0).numpy() * 255).astype(np.uint8)
assert np.isfinite(model.log_likelihood(x, 10, seed=0)).all()

with tempfile.TemporaryDirectory() as folder:
    run = pathlib.Path(folder) / "run"
    small = ["--latent-sizes", "3", "--hidden-sizes", "8", "-k", "2", "--epochs", "1", "--test-samples", "5"]
    subprocess.run([command, "train", *small, "-o", run], check=True)
    assert np.isfinite(json.loads((run / "metrics.json").read_text())["test"]["log_likelihood"])
    np.save(run / "x.npy", np.zeros((4, 8, 8, 1), np.uint8))
    subprocess.run([command, "score", run / "saved_model", run / "x.npy", "-o", run / "scores.csv"], check=True)
    assert np.isfinite(pd.read_csv(run / "scores.csv").log_likelihood).all()
sys.stdout.write(f"iwae_tf of {pathlib.Path(iwae_tf.__file__).parent}: trained, scored and loaded\n")
