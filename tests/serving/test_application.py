"""The REST API in this process, with a real SavedModel."""

import asyncio

import httpx2
import numpy as np
import pytest
import tensorflow as tf

import iwae_tf
from iwae_tf import serving
from iwae_tf.scoring.base import Row
from iwae_tf.scoring.endpoint import SCORES, Scorer
from iwae_tf.scoring.saved_columns import write_columns

PATH = "/v1/models/digits"


def ask(application, *requests, method="POST", path=f"{PATH}:predict"):
    """Sends requests at the same time; returns the answers."""

    async def send():
        transport = httpx2.ASGITransport(application)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            return await asyncio.gather(*(client.request(method, path, **request) for request in requests))

    return asyncio.run(send())


def predict(application, **content):
    """Asks for predictions; returns what the answer has."""
    (answer,) = ask(application, {"json": content})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refuse(application, code, **request):
    """Returns the error of a request that is refused."""
    (answer,) = ask(application, request)
    assert answer.status_code == code and list(answer.json()) == ["error"], answer.text
    return answer.json()["error"]


def metric(application, name):
    """Returns a value of the metrics."""
    (answer,) = ask(application, {}, method="GET", path="/metrics")
    (value,) = (line.split()[1] for line in answer.text.splitlines() if line.startswith(f"{name} "))
    return float(value)


@pytest.fixture(scope="module")
def application(saved_model):
    return serving.make_application(saved_model, "digits", max_rows=30, max_samples=60, max_body=1)


@pytest.fixture(scope="module")
def signatures(saved_model):
    loaded = tf.saved_model.load(str(saved_model))
    yield loaded.signatures


@pytest.fixture(scope="module")
def scores(saved_model, x):
    """The scores of the digits by `Scorer`: an array for each of `SCORES`."""
    results = Scorer(saved_model).score([Row(image.ravel()) for image in x])
    return dict(zip(SCORES, np.array(results).T, strict=True))


def assert_scores(predictions, scores):
    for name in SCORES:
        np.testing.assert_array_equal(np.float32([row[name] for row in predictions]), scores[name], strict=True)


def test_scores_are_those_of_the_scorer_bit_for_bit(application, scores, x):
    """All rows in one request, and each in a request of its own, all at the same time."""
    assert_scores(predict(application, instances=x.tolist())["predictions"], scores)
    batches = metric(application, "iwae_tf_batch_rows_count")
    answers = ask(application, *({"json": {"instances": [image.tolist()]}} for image in x))
    assert_scores([answer.json()["predictions"][0] for answer in answers], scores)
    assert metric(application, "iwae_tf_batch_rows_count") - batches < len(x)  # Some were merged.
    outputs = predict(application, inputs={"x": x.tolist()}, signature_name="log_likelihood")["outputs"]
    for name in SCORES:
        np.testing.assert_array_equal(np.float32(outputs[name]), scores[name])


def test_a_bad_row_spoils_no_other_request(application, scores, x):
    """Values that are no uint8 never reach the model; for the rest see the test of a narrow domain."""
    images = x.astype(float)
    images[3] = 0.5
    answers = ask(application, *({"json": {"instances": images[i : i + 2].tolist()}} for i in range(0, 20, 2)))
    assert [answer.status_code for answer in answers] == [200, 400, *[200] * 8]
    assert answers[1].json()["error"].startswith("Row 1: Expected uint8 values, as in training. Received: float64")
    rows = [row for answer in answers if answer.status_code == 200 for row in answer.json()["predictions"]]
    assert_scores(rows, {name: np.delete(values, [2, 3]) for name, values in scores.items()})


def test_a_row_outside_the_domain_spoils_no_request_that_it_was_merged_with(tmp_path_factory):
    """Pixels above 1, which only the model knows to be invalid, and names of columns."""
    x = np.random.default_rng(0).random((6, 4), np.float32)
    model = iwae_tf.mlp((4,), (2,), ((3,),), seed=0)
    model.encode(x)
    folder = iwae_tf.export(model, tmp_path_factory.mktemp("export") / "digits", num_samples=5)
    write_columns(folder, ((name, "binary", ()) for name in "abcd"))
    application = serving.make_application(folder)
    expected = predict(application, instances=x.tolist())["predictions"]
    bad = x.copy()
    bad[2, 1] = 2
    sent = [bad[0:1], bad[1:4], bad[4:6]]
    answers = ask(application, *({"json": {"instances": part.tolist()}} for part in sent))
    assert [answer.status_code for answer in answers] == [200, 400, 200]
    assert answers[0].json()["predictions"] == expected[:1] and answers[2].json()["predictions"] == expected[4:]
    assert "Row 1: Expected" in answers[1].json()["error"] and "Traceback" not in answers[1].json()["error"]
    named = [dict(zip("dcba", row[::-1], strict=True)) for row in x.tolist()]
    assert predict(application, instances=named)["predictions"] == expected


@pytest.mark.parametrize("name", ["encode", "reconstruct", "decode", "sample", "log_likelihood_seeded"])
def test_outputs_of_other_endpoints(name, application, signatures, x):
    seed = {"seed": np.int32([3, 4])}
    inputs = {
        "decode": {"z": np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)},
        "sample": {**seed, "num_samples": np.int32(3)},
        "log_likelihood_seeded": {"x": x, **seed, "num_samples": np.int32(60)},
    }.get(name, {"x": x})
    expected = signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
    values = {key: value.tolist() for key, value in inputs.items()}
    outputs = predict(application, inputs=values, signature_name=name)["outputs"]
    outputs = outputs if len(expected) > 1 else dict.fromkeys(expected, outputs)
    assert set(outputs) == set(expected)
    for output, value in expected.items():
        np.testing.assert_array_equal(np.float32(outputs[output]), value, strict=True)


@pytest.mark.parametrize("name", ["encode", "reconstruct"])
def test_merged_rows_are_as_in_any_batch(name, application, x):
    expected = predict(application, instances=x.tolist(), signature_name=name)["predictions"]
    answers = ask(application, *({"json": {"instances": [row], "signature_name": name}} for row in x.tolist()))
    assert [answer.json()["predictions"][0] for answer in answers] == expected


def test_refused_requests(application, x):
    rows = x.tolist()
    received = metric(application, 'iwae_tf_requests_total{code="400"}')
    assert "at most 30 rows. Received: 40" in refuse(application, 400, json={"instances": rows + rows})
    assert "Received: 'score'" in refuse(application, 400, json={"instances": rows, "signature_name": "score"})
    assert "Expected JSON" in refuse(application, 400, content=b"{")
    assert metric(application, 'iwae_tf_requests_total{code="400"}') == received + 3


def test_bodies_that_are_too_large(application):
    async def chunks():
        for _ in range(20):
            yield bytes(2**16)

    message = "Expected a body of at most 1 MiB. Received: a larger one"
    assert refuse(application, 413, content=bytes(2**20 + 1)) == message
    assert refuse(application, 413, content=chunks()) == message  # without a length


def test_unknown_models_and_paths(application):
    for path in ("/v1/models/letters", f"{PATH}/versions/2", "/v1/models/letters/metadata"):
        (answer,) = ask(application, {}, method="GET", path=path)
        assert answer.status_code == 404 and "Expected the model 'digits', version 1" in answer.json()["error"]
    (answer,) = ask(application, {"json": {}}, path="/v1/models/letters:predict")
    assert answer.status_code == 404
    (answer,) = ask(application, {}, method="GET", path="/v2")
    assert answer.status_code == 404 and answer.json() == {"error": "Not Found"}
    (answer,) = ask(application, {}, path=PATH)
    assert answer.status_code == 405 and answer.json() == {"error": "Method Not Allowed"}


@pytest.mark.parametrize("path", [PATH, f"{PATH}/versions/1"])
def test_status_and_metadata(path, application):
    """As the server documents the first, and prints the second of a SavedModel."""
    (status,), (metadata,) = (ask(application, {}, method="GET", path=f"{path}{end}") for end in ("", "/metadata"))
    assert status.json() == {
        "model_version_status": [
            {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    }
    content = metadata.json()
    assert content["model_spec"] == {"name": "digits", "signature_name": "", "version": "1"}
    described = content["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "log_likelihood", "encode", "decode", "sample", "reconstruct"} < set(described)
    size = [{"size": size, "name": ""} for size in ("-1", "8", "8", "1")]
    given = described["serving_default"]["inputs"]["x"]
    assert given["dtype"] == "DT_UINT8" and given["tensor_shape"] == {"dim": size, "unknown_rank": False}
    assert described["serving_default"]["method_name"] == "tensorflow/serving/predict"


def test_health(application):
    for path in ("/healthz", "/readyz"):
        (answer,) = ask(application, {}, method="GET", path=path)
        assert answer.status_code == 200 and "connection" not in answer.headers
    application.state.is_stopping = True
    try:
        (live,), (ready,) = (ask(application, {}, method="GET", path=path) for path in ("/healthz", "/readyz"))
    finally:
        application.state.is_stopping = False
    assert live.status_code == 200 and ready.status_code == 503
    assert live.headers["connection"] == ready.headers["connection"] == "close"


def test_an_unexpected_error_is_an_answer_too(application, x, monkeypatch, caplog):
    def fail(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("iwae_tf.serving.messages.write_answer", fail)
    assert refuse(application, 500, json={"instances": x.tolist()}) == "MemoryError: no room"
    assert "no room" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a/b"}, "name must consist of letters"),
        ({"max_rows": 0}, "max_rows must be a positive integer"),
        ({"max_body": 0.5}, "max_body must be a positive integer"),
    ],
)
def test_wrong_options(options, message, saved_model):
    with pytest.raises(ValueError, match=message):
        serving.make_application(saved_model, **options)
