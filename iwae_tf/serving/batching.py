"""A thread that runs endpoints, and merges the rows of requests that wait at the same time."""

import collections
import itertools
import queue
import threading
from concurrent.futures import Future
from typing import NamedTuple

import numpy as np

from iwae_tf.serving.endpoints import Endpoint
from iwae_tf.serving.metrics import Metrics


class Job(NamedTuple):
    """A request that waits for its endpoint.

    Attributes:
      endpoint: the endpoint.
      inputs: its inputs by name.
      future: the future of its results.
    """

    endpoint: Endpoint
    inputs: dict[str, np.ndarray]
    future: Future[list[tuple | str]]

    @property
    def num_rows(self) -> int:
        """The number of rows, if all inputs are rows."""
        return len(next(iter(self.inputs.values())))


class Batcher:
    """Runs endpoints one after the other, in a thread of its own.

    While a batch runs, further requests wait; those for the same endpoint become the next batch. So batches grow with
    the load, and a request that comes alone does not wait for others. Only rows of independent endpoints are merged.

    Args:
      metrics: the metrics to update.
      batch_size: rows of several requests that are run at once; a single request may have more.
    """

    def __init__(self, metrics: Metrics, batch_size: int) -> None:
        self._metrics, self._batch_size = metrics, batch_size
        self._queue: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._waiting: collections.deque[Job] = collections.deque()  # Taken from the queue; of the thread alone.
        threading.Thread(target=self._work, name="iwae_tf.serving", daemon=True).start()

    def submit(self, endpoint: Endpoint, inputs: dict[str, np.ndarray]) -> Future[list[tuple | str]]:
        """Returns the future of `endpoint.run(inputs)`."""
        job = Job(endpoint, inputs, Future())
        self._metrics.waiting.inc()
        self._queue.put(job)
        return job.future

    def _work(self) -> None:
        while True:
            while not self._waiting or not self._queue.empty():
                self._waiting.append(self._queue.get())
            batch = self._take_batch()
            self._metrics.waiting.dec(len(batch))
            _run([job for job in batch if job.future.set_running_or_notify_cancel()], self._metrics)

    def _take_batch(self) -> list[Job]:
        """Takes the first job that waits, and those that can be merged with it."""
        first = self._waiting.popleft()
        batch = [first]
        if first.endpoint.is_independent:
            num_rows, others = first.num_rows, list(self._waiting)
            self._waiting.clear()
            for job in others:
                if job.endpoint is first.endpoint and num_rows + job.num_rows <= self._batch_size:
                    batch.append(job)
                    num_rows += job.num_rows
                else:
                    self._waiting.append(job)
        return batch


def _run(batch: list[Job], metrics: Metrics) -> None:
    """Runs jobs of one endpoint at once, and gives each its own results."""
    if not batch:
        return
    inputs = batch[0].inputs
    if len(batch) > 1:
        inputs = {name: np.concatenate([job.inputs[name] for job in batch]) for name in inputs}
    try:
        results = batch[0].endpoint.run(inputs)
    except Exception as error:  # The clients get it, and the thread goes on.
        for job in batch:
            job.future.set_exception(error)
        return
    metrics.batch_rows.observe(len(results))
    rest = iter(results)
    for job in batch[:-1]:
        job.future.set_result(list(itertools.islice(rest, job.num_rows)))
    batch[-1].future.set_result(list(rest))  # The rows of `sample` are not those of its inputs.
