"""The thread that merges requests, with endpoints that note what they run."""

import threading

import numpy as np
import pytest

from iwae_tf.serving.batching import Batcher
from iwae_tf.serving.metrics import Metrics


class Endpoint:
    """Returns each row of `x` as it is; waits until `go` is set."""

    def __init__(self, is_independent=True):
        self.is_independent, self.batches = is_independent, []
        self.started, self.go = threading.Event(), threading.Event()

    def run(self, inputs):
        self.started.set()
        assert self.go.wait(60)
        self.batches.append(inputs["x"].tolist())
        if -1 in inputs["x"]:
            raise RuntimeError("broken")
        return [(x,) for x in inputs["x"]]


def submit(batcher, endpoint, *parts):
    """Submits the parts while the endpoint is at work on the first; returns their futures."""
    futures = [batcher.submit(endpoint, {"x": np.array(parts[0])})]
    assert endpoint.started.wait(60)
    return futures + [batcher.submit(endpoint, {"x": np.array(part)}) for part in parts[1:]]


def results(futures):
    return [[x for (x,) in future.result(60)] for future in futures]


def test_waiting_requests_are_merged_up_to_the_size_of_a_batch():
    metrics, endpoint, parts = Metrics(), Endpoint(), [[0], [1, 2], [3, 4], [5], [6, 7, 8, 9, 10, 11], [12]]
    futures = submit(Batcher(metrics, 4), endpoint, *parts)
    assert metrics.registry.get_sample_value("iwae_tf_waiting_requests") == 5
    endpoint.go.set()
    assert results(futures) == parts
    assert endpoint.batches == [[0], [1, 2, 3, 4], [5, 12], [6, 7, 8, 9, 10, 11]]
    assert metrics.registry.get_sample_value("iwae_tf_waiting_requests") == 0
    assert metrics.registry.get_sample_value("iwae_tf_batch_rows_sum") == 13


def test_requests_of_other_endpoints_are_not_merged():
    batcher, first, other = Batcher(Metrics(), 10), Endpoint(), Endpoint(is_independent=False)
    other.go.set()
    futures = submit(batcher, first, [0], [1])
    futures += [batcher.submit(other, {"x": np.array([i])}) for i in (2, 3)]
    futures.append(batcher.submit(first, {"x": np.array([4])}))
    first.go.set()
    assert results(futures) == [[0], [1], [2], [3], [4]]
    assert first.batches == [[0], [1, 4]] and other.batches == [[2], [3]]


def test_an_error_ends_its_batch_and_nothing_else():
    endpoint = Endpoint()
    batcher = Batcher(Metrics(), 2)
    futures = submit(batcher, endpoint, [0], [1], [-1], [2])
    endpoint.go.set()
    assert results([futures[0], futures[3]]) == [[0], [2]]
    for future in futures[1:3]:
        with pytest.raises(RuntimeError, match="broken"):
            future.result(60)
    assert results([batcher.submit(endpoint, {"x": np.array([3])})]) == [[3]]


def test_a_request_that_nobody_waits_for_is_not_run():
    endpoint = Endpoint()
    futures = submit(Batcher(Metrics(), 1), endpoint, [0], [1], [2])
    assert futures[1].cancel()
    endpoint.go.set()
    assert results([futures[0], futures[2]]) == [[0], [2]] and endpoint.batches == [[0], [2]]
