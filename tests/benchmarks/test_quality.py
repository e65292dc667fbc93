import json

import keras
import pytest

from benchmarks import quality
from iwae_tf.runs import Config


def row(nll, likelihoods):
    numbers = ("standard_error", "bound", "gap", "effective_sample_size", "snr_encoder", "snr_decoder", "seconds")
    counts = {"active_units": 3, "parameters": 9}
    return {"nll": nll, "log_likelihoods": likelihoods} | counts | dict.fromkeys(numbers, 1.5)


def test_runs_are_compared_image_by_image():
    text = quality.table({"iwae": row(91.0, [-90.0, -92.0, -91.0]), "elbo": row(93.0, [-91.0, -95.0, -93.0])})
    first, second = text.splitlines()[2:]
    assert first.startswith("| iwae | 91.00 | 1.50 | +0.00 +- 0.00 |")
    assert second.startswith("| elbo | 93.00 | 1.50 | +2.00 +- 0.58 |")  # differences 1, 3, 2


def test_every_run_is_a_config():
    for group in quality.GROUPS.values():
        for options in group.values():
            Config(**{"dataset": "mnist", "schedule": "burda"} | options)
    assert next(iter(quality.GROUPS["objectives"])) == "iwae"


def test_a_run_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "ROOT", tmp_path)
    config = Config(objective="dreg", num_samples=3, latent_sizes=(4,), hidden_sizes=((8,),), epochs=1)
    found = quality.measure(config, 10, "group", "dreg")
    (path,) = (tmp_path / "runs" / "quality" / "group").glob("dreg-*.keras")
    assert len(found["log_likelihoods"]) == 10 and 0 <= found["active_units"] <= 4
    assert found["gap"] < 0 < found["snr_encoder"] and 1 <= found["effective_sample_size"] <= 64
    # The bound with 64 samples lies between the ELBO and L_5000, but for the noise of ten images.
    assert found["gap"] < found["bound"] + found["nll"] < 0.5
    weights = keras.saving.load_model(path).get_weights()
    path.with_suffix(".json").write_text(json.dumps({"seconds": 1.0}))
    again = quality.measure(config, 10, "group", "dreg")
    assert again["seconds"] == 1.0 and again["log_likelihoods"] == pytest.approx(found["log_likelihoods"], abs=2e-3)
    assert all((a == b).all() for a, b in zip(weights, keras.saving.load_model(path).get_weights(), strict=True))
