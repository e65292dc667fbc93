"""What lands in the event files, read back as TensorBoard does."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import iwae_tf
from iwae_tf import callbacks, evaluation, layers

from ..fixtures import read_hparams, small_model


@pytest.fixture(scope="module")
def logged(digits, tmp_path_factory):
    """A model whose z is a plane, trained for three epochs, and the folder of its logs."""
    folder = tmp_path_factory.mktemp("logs")
    model = iwae_tf.mlp(
        (8, 8, 1), (2,), ((16,),), mean=digits.mean, preprocessing=layers.StochasticBinarization(), seed=0
    )
    model.compile("sgd")
    watcher = callbacks.Diagnostics(
        folder, digits.validation, every=2, num_observations=50, num_samples=20, labels=np.arange(50) % 10
    )
    model.fit(digits.train, epochs=3, callbacks=[watcher], verbose=0)
    events = EventAccumulator(str(folder / "diagnostics"), {"tensors": 0, "images": 0})
    events.Reload()
    return model, folder / "diagnostics", events


def scalar(events, name):
    return {event.step: float(np.frombuffer(event.tensor_proto.tensor_content, "f")[0]
                              if event.tensor_proto.tensor_content else event.tensor_proto.float_val[0])
            for event in events.Tensors(name)}  # fmt: skip


def test_every_second_epoch_and_the_last(logged, digits):
    model, _, events = logged
    names = ["bound", "elbo", "log_likelihood", "effective_sample_size", "kl/layer_1", "active_units/layer_1"]
    for name in [*names, "gradient_snr/encoder", "gradient_snr/decoder"]:
        assert list(scalar(events, name)) == [1, 2], name
    x = np.concatenate([np.asarray(part) for part in digits.validation])[:50]
    last = {name: scalar(events, name)[2] for name in names}
    assert last["elbo"] < last["bound"] < 0
    np.testing.assert_allclose(last["active_units/layer_1"], evaluation.active_units(model, x).active.sum())
    expected = evaluation.log_likelihood(model, x, 20).log_likelihood.mean()
    np.testing.assert_allclose(last["log_likelihood"], expected, rtol=1e-5)


def test_histograms_images_and_hyperparameters(logged):
    _, _, events = logged
    tags = set(events.Tags()["tensors"])
    assert {"log_activity/layer_1", "log_weights", "latent_means/layer_1"} <= tags
    assert {"samples", "reconstructions", "posteriors"} <= tags


def test_hparams_shows_the_training_by_its_folder(logged):
    _, folder, events = logged
    session, scalars = read_hparams(folder)
    assert session.group_name == str(folder.parent)
    assert session.hparams["latent_sizes"].string_value == "2"
    assert scalars["log_likelihood"] == pytest.approx(scalar(events, "log_likelihood")[2])


def test_projector_has_means_labels_and_sprites(logged):
    _, folder, _ = logged
    means = np.loadtxt(folder / "means.tsv")
    assert means.shape == (50, 3) and means[:, :2].std(0).min() > 0 and not means[:, 2].any()
    assert (folder / "labels.tsv").read_text().split() == [str(i % 10) for i in range(50)]
    config = (folder / "projector_config.pbtxt").read_text()
    assert "means.tsv" in config and "labels.tsv" in config and (folder / "sprites.png").stat().st_size > 500


def test_automatic_epochs_keep_to_the_budget(digits, tmp_path, monkeypatch):
    """Diagnoses of 1 s, the first of 5 s, epochs of 4 s: 42 after the first 5 s are 3 %, then every 9."""
    watcher = callbacks.Diagnostics(tmp_path, digits.validation)
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    done = []

    def diagnose():
        clock[0] += 1.0 if done else 5.0
        done.append(epoch)

    monkeypatch.setattr(watcher, "_write_tables", diagnose)
    monkeypatch.setattr(watcher, "_write_images", lambda: None)
    monkeypatch.setattr(watcher, "_write_embeddings", lambda: None)
    model = small_model()
    model.compile("sgd")
    model.build((None, 8, 8, 1))
    watcher.set_model(model)
    watcher.on_train_begin()
    for epoch in range(60):
        clock[0] += 4.0
        watcher.on_epoch_end(epoch)
    watcher.on_train_end()
    assert done == [0, 42, 51, 59]


def test_bad_arguments(digits, tmp_path, x):
    for bad in ({"every": 0}, {"num_observations": 0}, {"num_samples": 2.5}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            callbacks.Diagnostics(tmp_path, digits.test, **bad)
    model = small_model()
    model.compile("sgd")
    for watcher, message in (
        (callbacks.Diagnostics(tmp_path, x[:1]), "at least two observations"),
        (callbacks.Diagnostics(tmp_path, x, labels=[1, 2]), "a label for each of 20"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(x, callbacks=[watcher], verbose=0)
