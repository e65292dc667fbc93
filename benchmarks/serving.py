"""Rows per second and latencies of `iwae-tf serve` with 1, 8 and 64 clients, beside a loop over `Scorer`; and whether
a request is lost at SIGTERM. The model is the pretrained one of MNIST.

The clients are threads of one process, which shares the cores with the server.

python -m benchmarks.serving -k 50
"""

import argparse
import contextlib
import functools
import http.client
import json
import multiprocessing
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.commands import grey_images
from benchmarks.tables import markdown, number, write
from benchmarks.turns import PAUSE, ROOT

CLIENTS = (1, 8, 64)
#: Rows that the loop scores at once, as `iwae-tf score` does.
BATCH_SIZE = 100


@functools.cache
def load(saved_model):
    """Loads a model once in each process."""
    from iwae_tf.scoring.endpoint import Scorer

    return Scorer(saved_model)


def score(saved_model, x, seconds):
    """Scores batches one after the other; returns rows per second."""
    from iwae_tf.scoring.base import Row

    scorer, rows, count, start = load(saved_model), [Row(row) for row in x[:BATCH_SIZE]], 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        count += len(scorer.score(rows))
    return count / (time.perf_counter() - start)


class Client(threading.Thread):
    """Sends one request after the other over one connection, until a time or until the server refuses connections.

    Attributes:
      latencies: seconds of each request.
      lost: the number of requests without an answer.
    """

    def __init__(self, address, bodies, end):
        super().__init__()
        self._connection, self._bodies, self._end = http.client.HTTPConnection(address), bodies, end
        self.latencies, self.lost = [], 0

    def run(self):
        while (start := time.perf_counter()) < self._end:
            body = self._bodies[len(self.latencies) % len(self._bodies)]
            try:
                self._connection.request("POST", "/v1/models/mnist:predict", body)
                response = self._connection.getresponse()
                response.read()
            except ConnectionRefusedError:  # The server has closed its port; nothing was sent.
                return
            except (OSError, http.client.HTTPException):
                self.lost += 1
                return
            self.lost += response.status != 200
            self.latencies.append(time.perf_counter() - start)


def send(address, x, num_clients, num_rows, seconds):
    """Lets clients send requests; returns latencies, the number of requests that were lost, and seconds."""
    parts = np.split(x, len(x) // num_rows)
    bodies = [json.dumps({"instances": part.reshape(-1, 28, 28, 1).tolist()}) for part in parts]
    start = time.perf_counter()
    clients = [Client(address, bodies[i % len(bodies) :] + bodies[: i % len(bodies)], start + seconds)
               for i in range(num_clients)]  # fmt: skip
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    latencies = [latency for client in clients for latency in client.latencies]
    return latencies, sum(client.lost for client in clients), time.perf_counter() - start


@contextlib.contextmanager
def serve(saved_model):
    """Starts a server; yields its process and its address."""
    command = [sys.executable, "-m", "iwae_tf", "serve", saved_model, "--name", "mnist", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process, process.stdout.readline().split("/")[2]
        finally:
            process.terminate()


def process_pool():
    """Makes one process, which lives as long as the pool."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def measure(saved_model, x, options):
    """Measures the loop and the server in turn; returns `{"loop": rows/s, "server": [cell, ...], "stop": ...}`."""
    loops = []
    cells = {(rows, clients): {"rows": rows, "clients": clients, "rounds": [], "latencies": []}
             for rows in options.rows for clients in CLIENTS}  # fmt: skip
    with process_pool() as loop, process_pool() as clients, serve(saved_model) as (server, address):
        loop.submit(score, saved_model, x, 0.1).result()
        clients.submit(send, address, x, 8, 10, 0.5).result()
        for _ in range(options.rounds):
            loops.append(loop.submit(score, saved_model, x, options.seconds).result())
            for (num_rows, num_clients), cell in cells.items():
                time.sleep(PAUSE)
                latencies, lost, seconds = clients.submit(
                    send, address, x, num_clients, num_rows, options.seconds
                ).result()
                if lost:
                    raise RuntimeError(f"Expected an answer to every request. Received: {lost} without one")
                cell["rounds"].append(len(latencies) * num_rows / seconds)
                cell["latencies"] += latencies
        last = clients.submit(send, address, x, max(CLIENTS), 1, 60)
        time.sleep(1)
        server.send_signal(signal.SIGTERM)
        latencies, lost, _ = last.result()
        stop = {"answers": len(latencies), "lost": lost, "exit_code": server.wait()}
    reference = statistics.median(loops)
    for cell in cells.values():
        cell["rows_per_second"] = statistics.median(cell["rounds"])
        cell["of_the_loop"] = cell["rows_per_second"] / reference
        cell["p50"], cell["p99"] = np.quantile(cell.pop("latencies"), [0.5, 0.99])
    return {"loop": reference, "loop_rounds": loops, "server": list(cells.values()), "stop": stop}


def table(result):
    """The results as markdown."""
    rows = [
        (cell["rows"], cell["clients"], number(cell["rows_per_second"]), f"{cell['of_the_loop']:.2f}",
         number(cell["p50"] * 1e3), number(cell["p99"] * 1e3))
        for cell in result["server"]
    ]  # fmt: skip
    header = ["rows of a request", "clients", "rows/s", "of the loop", "p50, ms", "p99, ms"]
    return f"{markdown(header, rows)}\n\nLoop: {number(result['loop'])} rows/s. At SIGTERM: {result['stop']}."


def main():
    """Measures, prints a table and writes benchmarks/results/serving-<k>.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    parser.add_argument("-k", "--num-samples", type=int, default=50, help="importance samples of the model")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 20], help="rows of a request, divisors of 1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of every measurement")
    options = parser.parse_args()
    import iwae_tf

    source, images = grey_images(options.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        model = iwae_tf.load_pretrained("mnist_iwae_1l")
        saved_model = str(iwae_tf.export(model, Path(folder) / "model", options.num_samples))
        result = measure(saved_model, images[:1000], options)
    sys.stdout.write(f"{table(result)}\n")
    about = {"command": f"{parser.prog} -k {options.num_samples}", "rounds": options.rounds, "images": source}
    write(ROOT / "benchmarks" / "results", f"serving-{options.num_samples}", result, **about, seconds=options.seconds)


if __name__ == "__main__":
    main()
