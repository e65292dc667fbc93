"""Training by several replicas of a model, on several devices or machines, under a strategy of `tf.distribute`."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_choice
from iwae_tf.data.observation_model import ObservationModel
from iwae_tf.data.pipelines import Execution
from iwae_tf.layers import rules
from iwae_tf.training.executions import Executions, Logs, unpack

#: Names of strategies: one process with all its devices, or the processes that TF_CONFIG names.
STRATEGIES = {
    "mirrored": tf.distribute.MirroredStrategy,
    "multi-worker": tf.distribute.MultiWorkerMirroredStrategy,
}
SUM = tf.distribute.ReduceOp.SUM
#: Errors of TensorFlow that mean that another worker does not answer.
LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def make_strategy(name: str | None = None) -> tf.distribute.Strategy:
    """Makes a strategy of `STRATEGIES`, or for `None` returns the strategy of a single device.

    Raises:
      ValueError: if the name is unknown, or TF_CONFIG does not name the processes.
    """
    if name is None:
        return tf.distribute.get_strategy()
    check_choice(name, "distribute", STRATEGIES)
    if name == "multi-worker" and "TF_CONFIG" not in os.environ:
        raise ValueError(
            "Expected the environment variable TF_CONFIG, which names all workers and this one, with "
            "distribute='multi-worker'. Received: none"
        )
    return STRATEGIES[name]()


def is_several(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether the strategy has several replicas, rather than being TensorFlow's default strategy."""
    return strategy is not tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes the common results: the first worker, or the only one."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.cluster_spec().jobs or not resolver.task_id


@contextlib.contextmanager
def report_lost_workers() -> Iterator[None]:
    """Turns the errors that TensorFlow raises where another worker does not answer into one clear error."""
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(error, LOST_WORKER_ERRORS) and "ollective" not in str(error):
            raise
        cause = " ".join(str(error).split())[:200]
        raise ConnectionError(
            f"Expected all workers to take part in every step. Received: a worker that stopped ({cause}); start all "
            "of them again, with resume (--resume) to continue from the last checkpoint"
        ) from error


def make_function(model: ObservationModel, num_steps: int, train: bool) -> Executions:
    """Makes the function that Keras calls for every execution, as `executions.make_function` does for one device.

    Every replica computes its part of the batch with its own noise. The gradient is the gradient of the mean over the
    whole batch, and the logs describe the whole batch, however uneven the parts are. The steps run one by one and
    without XLA, which cannot compile the sum over the replicas.

    Args:
      model: a model that was made under the scope of the strategy.
      num_steps: most steps of one execution.
      train: whether the steps train or evaluate.

    Returns:
      `Executions` of up to `num_steps` steps.
    """
    strategy = model.distribute_strategy

    def run_replica(data: tuple, seed: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        seed = random.fold_in(seed, context.replica_id_in_sync_group)
        x, sample_weight = unpack(model, data)
        data = rules.assert_rules(x, model.rules(x)), None, sample_weight
        if not train:
            return _total(model, model.compute_batch_metrics(data, seed), sample_weight)
        gradients, values = model.compute_gradients(data, seed)
        rows = tf.cast(tf.shape(x)[0], values["loss"].dtype)
        share = rows / context.all_reduce(SUM, rows)
        # A replica may have no rows at all, and then the mean is NaN.
        gradients = [g if g is None else tf.math.multiply_no_nan(g, tf.cast(share, g.dtype)) for g in gradients]
        model.optimizer.apply(gradients, model.trainable_variables)
        return _total(model, values, sample_weight)

    def step(data: tuple, seed: tf.Tensor) -> tf.Tensor:
        return strategy.reduce(SUM, strategy.run(run_replica, (data, seed)), axis=None)

    if not model.run_eagerly:
        step = tf.function(step, reduce_retracing=True, autograph=False)

    def program(batch: tuple) -> Logs:
        try:
            *sums, count = tf.unstack(step(batch, model.next_seed()))
        except tf.errors.InvalidArgumentError as error:
            if (reason := compiling.reason(error)) == error.message:
                raise
            raise ValueError(reason) from error
        for tracker, total in zip(model.trackers, sums, strict=True):
            tracker.total.assign_add(total)
            tracker.count.assign_add(count)
        return model.get_metrics_result()

    def take(iterator: Any, executions: Executions) -> Iterator[tuple]:
        if not hasattr(iterator, "get_next_as_optional"):  # Python's own batches, from `train_on_batch`
            yield from ((tuple(part for part in batch if part is not None),) for batch in iterator)
            return
        for _ in range(num_steps):
            batch = iterator.get_next_as_optional()
            if not batch.has_value():
                break
            yield (batch.get_value(),)

    return Executions(model, program, take)


def shard(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a pipeline of batches of which each worker reads all and uses its part, since there are no files."""
    if isinstance(dataset.element_spec, Execution):  # of one step each
        dataset = dataset.map(lambda part: keras.tree.map_structure(_join, part.steps, part.rest))
    dataset = dataset.map(_drop_none)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)


def _drop_none(*data: Any) -> tuple:
    """Returns x and the sample weights, if any, with a target that nothing reads: a strategy accepts only tensors."""
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    return (x,) if sample_weight is None else (x, tf.zeros_like(sample_weight), sample_weight)


def _join(steps: tf.Tensor | None, rest: tf.Tensor) -> tf.Tensor | None:
    return None if steps is None else tf.concat([tf.reshape(steps, [-1, *rest.shape[1:]]), rest], 0)


def _total(model: ObservationModel, values: Logs, sample_weight: tf.Tensor | None) -> tf.Tensor:
    """Sums the logs over the rows: the metrics in their order, then the number of rows or the sum of their weights."""
    loss = values["loss"]
    weights = tf.ones_like(loss) if sample_weight is None else tf.cast(sample_weight, loss.dtype)
    names = [tracker.name for tracker in model.trackers]
    sums = [tf.reduce_sum(tf.where(weights > 0, values[name] * weights, 0)) for name in names]
    return tf.cast(tf.stack([*sums, tf.reduce_sum(weights)]), model.trackers[0].dtype)
