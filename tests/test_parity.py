"""Everything that a Keras model takes, beside a plain Keras model of the same loss."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from scipy import sparse

from iwae_tf.data import streams
from iwae_tf.training import executions

from .parity import b_of, ours, pair, plain

ROWS, BATCH = 22, 5  # four batches of five and one of two
EVENTS = [(3,), (2, 2, 1), (2, 4)]
RNG = np.random.default_rng(0)
WEIGHTS = RNG.uniform(0, 2, ROWS).astype(np.float32)
WEIGHTS *= ROWS / WEIGHTS.sum()  # so that Keras' loss, which is over the number of rows, is ours, over their weight


def rows(event_shape=(3,)):
    return np.random.default_rng(1).normal(size=(ROWS, *event_shape)).astype(np.float32)


def cut(*arrays):
    """Batches of arrays, each a tuple."""
    return [tuple(a[i : i + BATCH] for a in arrays) for i in range(0, ROWS, BATCH)]


class Loader(keras.utils.PyDataset):
    """Counts what is loaded."""

    def __init__(self, parts, **kwargs):
        super().__init__(**kwargs)
        self.parts, self.loaded, self.events = parts, [], []

    @property
    def num_batches(self):
        return len(self.parts)

    def __getitem__(self, i):
        self.loaded.append(i)
        return self.parts[i]

    def on_epoch_begin(self):
        self.events.append("begin")

    def on_epoch_end(self):
        self.events.append("end")


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH)


def of_unknown_shape(*arrays):
    def shapeless(*parts):
        return tuple(tf.py_function(lambda part: part, [part], part.dtype) for part in parts)

    return dataset(*arrays).map(shapeless)


def read_once(*arrays):
    """A dataset over an iterator, which has nothing left for a second pass."""
    left = iter(cut(*arrays))
    signature = tuple(tf.TensorSpec([None, *a.shape[1:]], a.dtype) for a in arrays)
    return tf.data.Dataset.from_generator(lambda: left, output_signature=signature)


#: What holds batches: functions of x, targets and, if there are any, weights.
STREAMS = {
    "dataset": dataset,
    "unknown shape": of_unknown_shape,
    "generator": lambda *arrays: (batch for batch in cut(*arrays)),
    "PyDataset": lambda *arrays: Loader(cut(*arrays)),
    "threads": lambda *arrays: Loader(cut(*arrays), workers=2),
    "from_generator": lambda *arrays: tf.data.Dataset.from_generator(
        lambda: iter(cut(*arrays)),
        output_signature=tuple(tf.TensorSpec([None, *a.shape[1:]], a.dtype) for a in arrays),
    ),
    "read once": read_once,
}
#: What holds arrays: functions of an array `[n, d]`.
ARRAYS = {
    "array": lambda a: a,
    "float64": lambda a: a.astype(np.float64),
    "tensor": tf.constant,
    "tensor of float64": lambda a: tf.constant(a, tf.float64),
    "list": lambda a: a.tolist(),
    "frame": lambda a: pd.DataFrame(a, index=RNG.permutation(len(a))),
    "csr": sparse.csr_matrix,
    "masked": lambda a: np.ma.masked_array(a, np.zeros(a.shape, bool)),
}
WEIGHT_FORMS = {
    "[n]": lambda w: w,
    "[n, 1]": lambda w: w[:, np.newaxis],
    "list": lambda w: w.tolist(),
    "series": lambda w: pd.Series(w, index=RNG.permutation(len(w))),
    "tensor": tf.constant,
}


def fitted(model, *args, **kwargs):
    """Returns b, the steps taken, and the loss that is logged."""
    history = model.fit(*args, verbose=0, shuffle=False, **kwargs).history
    return b_of(model), int(model.optimizer.iterations), history["loss"]


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("event_shape", EVENTS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", STREAMS)
def test_streams_in_fit_and_evaluate(kind, weighted, event_shape):
    """Models of several ranks in one process, too."""
    x = rows(event_shape)
    parts = (x, x, WEIGHTS) if weighted else (x, x)
    epochs = 1 if kind in ("generator", "read once") else 2
    mine, theirs = pair(event_shape)
    assert_same(fitted(mine, STREAMS[kind](*parts), epochs=epochs), fitted(theirs, dataset(*parts), epochs=epochs))
    made = ((mine, STREAMS[kind]), (theirs, dataset))  # Keras itself fails for data of unknown rank
    losses = [m.evaluate(make(*parts), verbose=0, return_dict=True)["loss"] for m, make in made]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    np.testing.assert_allclose(*(m.predict(make(x), verbose=0) for m, make in made), rtol=1e-5)


@pytest.mark.parametrize("weights", [None, *WEIGHT_FORMS])
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_in_every_method(kind, weights):
    x, w = rows(), None if weights is None else WEIGHT_FORMS[weights](WEIGHTS)
    plain_w = None if w is None else WEIGHTS
    data = ARRAYS[kind](x)
    mine, theirs = pair()
    assert_same(
        fitted(mine, data, batch_size=BATCH, epochs=2, sample_weight=w),
        fitted(theirs, x, x, batch_size=BATCH, epochs=2, sample_weight=plain_w),
    )
    pairs = [
        (mine.evaluate(data, sample_weight=w, verbose=0)[0], theirs.evaluate(x, x, sample_weight=plain_w, verbose=0)),
        (mine.predict(data, verbose=0), theirs.predict(x, verbose=0)),
        (mine.predict_on_batch(data), theirs.predict_on_batch(x)),
        (mine.test_on_batch(data, sample_weight=w)[0], theirs.test_on_batch(x, x, plain_w)),
        (mine.train_on_batch(data, sample_weight=w)[0], theirs.train_on_batch(x, x, plain_w)),
        (b_of(mine), b_of(theirs)),
    ]
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("weights", [None, "[n]", "[n, 1]", "list"])
@pytest.mark.parametrize("kind", [*ARRAYS, "dataset", "PyDataset", "unknown shape"])
def test_validation_data(kind, weights):
    x = rows()
    w = None if weights is None else WEIGHT_FORMS[weights](WEIGHTS)
    theirs_w = () if w is None else (WEIGHTS,)
    if kind in ARRAYS:
        given = (ARRAYS[kind](x), None, w) if weights else ARRAYS[kind](x)
    else:
        given = STREAMS[kind](x, x, *theirs_w)
    logs = [
        model.fit(*arrays, validation_data=validation, epochs=2, batch_size=BATCH, shuffle=False, verbose=0).history
        for model, arrays, validation in zip(pair(), ((x,), (x, x)), (given, (x, x, *theirs_w)), strict=True)
    ]
    np.testing.assert_allclose(logs[0]["val_loss"], logs[1]["val_loss"], rtol=1e-5)


def test_validation_split_takes_the_weights_along():
    x = rows()
    histories = [
        model.fit(*arrays, sample_weight=WEIGHTS, validation_split=0.25, batch_size=BATCH, shuffle=False, verbose=0)
        for model, arrays in zip(pair(), ((x,), (x, x)), strict=True)
    ]
    mine, theirs = (history.history for history in histories)
    cut = int(ROWS * 0.75)
    np.testing.assert_allclose(mine["loss"][0] * WEIGHTS[:cut].mean(), theirs["loss"][0], rtol=1e-5)
    np.testing.assert_allclose(mine["val_loss"][0] * WEIGHTS[cut:].mean(), theirs["val_loss"][0], rtol=1e-5)


@pytest.mark.parametrize("options", [{"steps_per_epoch": 2}, {"steps_per_epoch": 2, "batch_size": 4}])
def test_steps_and_sizes_of_arrays(options):
    x = rows()
    # Not by `pair`, whose executions are longer than these epochs.
    assert_same(*(fitted(m, *arrays, **options) for m, arrays in ((ours(), (x,)), (plain(), (x, x)))))


def test_executions_hold_no_more_than_memory_allows():
    """Of pipelines that do not tell the size of their batches, too."""
    wide = np.zeros((400, 2**17), np.float32)  # half a MiB each
    model = ours((2**17,))
    for data in (wide, tf.data.Dataset.from_tensor_slices(wide).batch(8), (wide[i : i + 8] for i in (0, 8, 16))):
        feed = streams.make_stream(model, data, batch_size=8)
        assert 2**22 <= feed.batch_bytes <= 2**26
        assert executions.steps_per_execution(50, feed.batch_bytes) <= 16
    assert streams.make_stream(model, Loader([(wide[:8],)])).batch_bytes == 2**22


def test_a_batch_size_that_is_a_whole_float():
    assert_same(*(fitted(ours(), rows(), batch_size=size) for size in (20.0, 20)))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_py_dataset_is_used_as_keras_uses_it(workers):
    """The same loads and the same calls at the ends of epochs; shuffled by default."""
    x = rows()
    loaders = []
    for model in pair():
        loader = Loader(cut(x, x), workers=workers)
        model.fit(loader, epochs=3, verbose=0, shuffle=False)
        loaders.append(loader)
    mine, theirs = loaders
    assert sorted(mine.loaded) == sorted(theirs.loaded)
    assert mine.events == theirs.events
    shuffled = Loader(cut(x, x))
    ours().fit(shuffled, epochs=6, verbose=0)
    epochs = [shuffled.loaded[i : i + 5] for i in range(2, len(shuffled.loaded), 5)]
    assert any(epoch != sorted(epoch) for epoch in epochs) and all(sorted(epoch) == list(range(5)) for epoch in epochs)


def test_loads_of_the_first_item():
    loader = Loader(cut(rows()))
    ours().fit(loader, verbose=0, shuffle=False)
    other = Loader(cut(rows(), rows()))
    plain().fit(other, verbose=0, shuffle=False)
    assert loader.loaded.count(0) == other.loaded.count(0)


X = rows()
NAN_WEIGHT = np.where(np.arange(ROWS) == 3, np.nan, WEIGHTS)


def repeated():
    return dataset(X).repeat()


#: Calls that are to be refused before a step is taken, and what the error says.
REFUSED = {
    "a NaN weight": (lambda m: m.fit(X, sample_weight=NAN_WEIGHT), "weights that are finite"),
    "a negative weight": (lambda m: m.fit(X, sample_weight=-WEIGHTS), "not negative"),
    "too few weights": (lambda m: m.fit(X, sample_weight=WEIGHTS[:5]), "weight for each of 22 rows"),
    "weights of another rank": (lambda m: m.fit(X, sample_weight=WEIGHTS.reshape(2, 11)), "weight for each of 22"),
    "weights that are text": (lambda m: m.fit(X, sample_weight=["a"] * ROWS), "numbers"),
    "too few targets": (lambda m: m.fit(X, X[:5]), "target for each of 22 rows"),
    "a NaN weight of a dataset": (lambda m: m.fit(dataset(X, X, NAN_WEIGHT)), "weights that are finite"),
    "a NaN weight of a generator": (lambda m: m.fit(iter(cut(X, X, NAN_WEIGHT))), "weights that are finite"),
    "weights of a dataset of another rank": (lambda m: m.fit(dataset(X, X, X)), "weight for each row"),
    "weights beside a dataset": (lambda m: m.fit(dataset(X), sample_weight=WEIGHTS), "within the batches"),
    "targets beside a dataset": (lambda m: m.fit(dataset(X), X), "within the batches"),
    "evaluate: too few weights": (lambda m: m.evaluate(X, sample_weight=WEIGHTS[:5]), "weight for each"),
    "validation: too few weights": (lambda m: m.fit(X, validation_data=(X, None, WEIGHTS[:5])), "weight for each"),
    "train_on_batch: too few weights": (lambda m: m.train_on_batch(X, sample_weight=WEIGHTS[:5]), "weight for each"),
    "test_on_batch: NaN weight": (lambda m: m.test_on_batch(X, sample_weight=NAN_WEIGHT), "finite"),
    "a split of a dataset": (lambda m: m.fit(dataset(X), validation_split=0.2), "an array with validation_split"),
    "a split of a generator": (lambda m: m.fit(iter(cut(X)), validation_split=0.2), "an array with validation_split"),
    "a split of a PyDataset": (lambda m: m.fit(Loader(cut(X)), validation_split=0.2), "an array with validation_split"),
    "class weights without targets": (lambda m: m.fit(X, class_weight={0: 1.0, 1: 2.0}), "targets with class_weight"),
    "class weights of a dataset without targets": (
        lambda m: m.fit(dataset(X), class_weight={0: 1.0, 1: 2.0}), "targets with class_weight",
    ),
    "an endless dataset": (lambda m: m.fit(repeated()), "steps_per_epoch for data without an end"),
    "endless validation data": (lambda m: m.fit(X, validation_data=repeated()), "validation_steps"),
    "evaluate without an end": (lambda m: m.evaluate(repeated()), "steps for data without an end"),
    "predict without an end": (lambda m: m.predict(repeated()), "steps for data without an end"),
    "a dataset of dicts": (
        lambda m: m.fit(tf.data.Dataset.from_tensor_slices({"image": X, "label": X}).batch(5)),
        "map` makes them. Received: a dict of image, label",
    ),
    "a dataset without batches": (lambda m: m.fit(tf.data.Dataset.from_tensor_slices(X)), "`dataset.batch` makes"),
    "a dataset of text": (lambda m: m.fit(tf.data.Dataset.from_tensor_slices([["a"] * 3]).batch(5)), "numbers"),
    "NaN in the second batch": (
        lambda m: m.fit(dataset(np.where(np.arange(ROWS)[:, None] == 7, np.nan, X).astype("f4"))), "finite data",
    ),
    "NaN in the second batch of a generator": (
        lambda m: m.fit(iter(cut(np.where(np.arange(ROWS)[:, None] == 7, np.nan, X)))), "finite data",
    ),
    "NaN in evaluate": (
        lambda m: m.evaluate(dataset(np.where(np.arange(ROWS)[:, None] == 7, np.nan, X).astype("f4"))), "finite data",
    ),
    "NaN in predict": (
        lambda m: m.predict(dataset(np.where(np.arange(ROWS)[:, None] == 7, np.nan, X).astype("f4"))), "finite data",
    ),
    "NaN in train_on_batch": (lambda m: m.train_on_batch(np.full_like(X, np.nan)), "finite data"),
    "NaN that a mask hides": (lambda m: m.fit(np.ma.masked_greater(X, 1)), "finite data"),
    "rows of different lengths": (lambda m: m.fit([[1.0, 2.0, 3.0], [1.0]]), "Expected an array"),
    "ragged": (lambda m: m.fit(tf.ragged.constant([[1.0, 2.0, 3.0], [1.0]])), "Expected an array"),
    "a frame with text": (lambda m: m.fit(pd.DataFrame({"a": [1.0], "b": ["x"], "c": [2.0]})), "numeric columns"),
    "batches of another shape, not known before": (lambda m: m.fit(of_unknown_shape(X[:, :2])), r"shape \(3,\)"),
    "an empty generator": (lambda m: m.fit(iter([])), "at least one batch"),
    "an empty PyDataset": (lambda m: m.fit(Loader([])), "an empty PyDataset"),
    "a batch size of 2.5": (lambda m: m.fit(X, batch_size=2.5), "batch_size"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_a_step(case):
    call, message = REFUSED[case]
    model, _ = pair()
    with pytest.raises((ValueError, TypeError), match=message):
        call(model)
    assert int(model.optimizer.iterations) == 0
    np.testing.assert_array_equal(b_of(model), 0)
    model.fit(X, verbose=0)
    assert np.isfinite(b_of(model)).all(), "and good data train it"


def test_models_of_several_ranks_in_one_process():
    for event_shape in (EVENTS[i] for i in (0, 1, 0, 2, 1, 2, 0)):  # each after each of the others
        x = rows(event_shape)
        model = ours(event_shape)
        for data in (dataset(x), x):
            model.fit(data, validation_data=dataset(x), verbose=0)
            model.evaluate(data, verbose=0)
        model.fit(x, validation_split=0.5, verbose=0)


def test_bare_batches_of_a_generator():
    model, other = ours(), ours()
    model.fit((batch for (batch,) in cut(X)), verbose=0)
    other.fit(dataset(X), verbose=0)
    np.testing.assert_array_equal(b_of(model), b_of(other))


@pytest.mark.parametrize("kind", ["array", "dataset", "PyDataset"])
def test_class_weights(kind):
    """They are sample weights by the class of the target; also shuffled, in batches of all rows."""
    labels = np.arange(ROWS) % 2
    by_class = {0: 0.5, 1: 1.5}
    weights = np.where(labels == 0, 0.5, 1.5).astype(np.float32)
    given = {"array": (X, labels), "dataset": (dataset(X, labels),), "PyDataset": (Loader(cut(X, labels)),)}[kind]
    size = {"batch_size": BATCH} if kind == "array" else {}
    one = fitted(ours(), *given, class_weight=by_class, **size)
    other = fitted(ours(), X, sample_weight=weights, batch_size=BATCH)
    assert_same(one, other)


@pytest.mark.parametrize("kind", ["csr", "tf.SparseTensor", "masked"])
def test_missing_and_sparse_are_what_they_mean(kind):
    """Counts as a sparse matrix train as the dense ones; what a mask hides is missing, not its fill value."""
    counts = np.random.default_rng(0).poisson(0.5, (ROWS, 3)).astype(np.float32)
    if kind == "masked":
        values = np.ma.masked_array(np.where(counts > 1, -999.0, counts), counts > 1)
        model, other = (ours(incomplete=False) for _ in range(2))
        with pytest.raises(ValueError, match="finite data"):
            model.fit(values, verbose=0)
        return
    data = sparse.csr_matrix(counts) if kind == "csr" else tf.sparse.from_dense(counts)
    model, other = ours(), ours()
    for m, x in ((model, data), (other, counts)):
        m.fit(x, shuffle=False, verbose=0)
    np.testing.assert_array_equal(b_of(model), b_of(other))
    np.testing.assert_array_equal(model.log_likelihood(data, 3, seed=0), model.log_likelihood(counts, 3, seed=0))
