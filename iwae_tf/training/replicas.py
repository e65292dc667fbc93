"""Training by several replicas of a model, on several devices or machines, under a strategy of `tf.distribute`."""

import contextlib
import os

import keras
import tensorflow as tf

from iwae_tf import compiling, random
from iwae_tf.checks import check_choice
from iwae_tf.data.pipelines import Execution
from iwae_tf.layers import rules
from iwae_tf.training.executions import Executions, unpack

#: Names of strategies: one process with all its devices, or the processes that TF_CONFIG names.
STRATEGIES = {
    "mirrored": tf.distribute.MirroredStrategy,
    "multi-worker": tf.distribute.MultiWorkerMirroredStrategy,
}
SUM = tf.distribute.ReduceOp.SUM
#: What TensorFlow raises where another worker does not answer.
GONE = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


def make_strategy(name=None):
    """Makes a strategy of `STRATEGIES`, or for `None` the one of a single device.

    Raises:
      ValueError: if there is no such name, or TF_CONFIG does not say which processes there are.
    """
    if name is None:
        return tf.distribute.get_strategy()
    check_choice(name, "distribute", STRATEGIES)
    if name == "multi-worker" and "TF_CONFIG" not in os.environ:
        raise ValueError(
            "Expected the environment variable TF_CONFIG, which names the workers and which of them this is, with "
            "distribute='multi-worker'. Received: none"
        )
    return STRATEGIES[name]()


def is_several(strategy):
    """Returns whether it is a strategy of several replicas, or only TensorFlow's stand-in for none."""
    return strategy is not tf.distribute.get_strategy()


def is_chief(strategy):
    """Returns whether this process is to write what all have made: the first worker, or the only one."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.cluster_spec().jobs or not resolver.task_id


@contextlib.contextmanager
def all_there():
    """Turns what TensorFlow raises where another worker does not answer into one clear error."""
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(error, GONE) and "ollective" not in str(error):
            raise
        said = " ".join(str(error).split())[:200]
        raise ConnectionError(
            f"Expected all workers to take part in every step. Received: one that went away ({said}); start all of "
            "them again, with resume (--resume) to go on from the last checkpoint"
        ) from error


def make_function(model, num_steps, train):
    """Makes the function that Keras calls for every execution, as `training.make_function` does for one device.

    Every replica takes its part of the batch and draws noise of its own; the gradient is that of the mean over the
    whole batch, and what is logged is of the whole batch, however uneven the parts are. The steps run one by one,
    without XLA: the sum over the replicas is no operation of it.

    Args:
      model: an `IWAE` that was made under the scope of the strategy.
      num_steps: most steps of one execution.
      train: whether the steps train or evaluate.

    Returns:
      `training.Executions` of up to `num_steps` steps.
    """
    strategy = model.distribute_strategy

    def of_replica(data, seed):
        context = tf.distribute.get_replica_context()
        seed = random.fold_in(seed, context.replica_id_in_sync_group)
        x, sample_weight = unpack(model, data)
        data = rules.assert_rules(x, model.rules(x)), None, sample_weight
        if not train:
            return _totals(model, model.evaluated(data, seed), sample_weight)
        gradients, values = model.computed(data, seed)
        rows = tf.cast(tf.shape(x)[0], values["loss"].dtype)
        share = rows / context.all_reduce(SUM, rows)
        # A replica may have no rows at all, and the mean of nothing.
        gradients = [g if g is None else tf.math.multiply_no_nan(g, tf.cast(share, g.dtype)) for g in gradients]
        model.optimizer.apply(gradients, model.trainable_variables)
        return _totals(model, values, sample_weight)

    def step(data, seed):
        return strategy.reduce(SUM, strategy.run(of_replica, (data, seed)), axis=None)

    if not model.run_eagerly:
        step = tf.function(step, reduce_retracing=True, autograph=False)

    def function(iterator):
        done = 0
        for batch in taken(iterator):
            try:
                *sums, count = tf.unstack(step(batch, model.next_seed()))
            except tf.errors.InvalidArgumentError as error:
                if (reason := compiling.reason(error)) == error.message:
                    raise
                raise ValueError(reason) from error
            for tracker, total in zip(model.trackers, sums, strict=True):
                tracker.total.assign_add(total)
                tracker.count.assign_add(count)
            done += 1
        if not done:
            raise StopIteration
        return model.get_metrics_result()

    def taken(iterator):
        if not hasattr(iterator, "get_next_as_optional"):  # batches of Python's own, from `train_on_batch`
            yield from (tuple(part for part in batch if part is not None) for batch in iterator)
            return
        for _ in range(num_steps):
            batch = iterator.get_next_as_optional()
            if not batch.has_value():
                break
            yield batch.get_value()

    return Executions(function, lambda iterator: list(taken(iterator)))


def shared_out(dataset):
    """Returns a pipeline of batches, of which each worker reads all and takes its part: there are no files to share."""
    if isinstance(dataset.element_spec, Execution):  # of one step each
        dataset = dataset.map(lambda part: keras.tree.map_structure(_end_to_end, part.steps, part.rest))
    dataset = dataset.map(_without_none)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.with_options(options)


def _without_none(*data):
    """Returns the x and the sample weights, if any, with a target that nothing reads: a strategy takes tensors only."""
    x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    return (x,) if sample_weight is None else (x, tf.zeros_like(sample_weight), sample_weight)


def _end_to_end(steps, rest):
    return None if steps is None else tf.concat([tf.reshape(steps, [-1, *rest.shape[1:]]), rest], 0)


def _totals(model, values, sample_weight):
    """Sums what is logged over the rows, and the rows or their weights: the metrics in their order, then the count."""
    loss = values["loss"]
    weights = tf.ones_like(loss) if sample_weight is None else tf.cast(sample_weight, loss.dtype)
    names = [tracker.name for tracker in model.trackers]
    sums = [tf.reduce_sum(tf.where(weights > 0, values[name] * weights, 0)) for name in names]
    return tf.cast(tf.stack([*sums, tf.reduce_sum(weights)]), model.trackers[0].dtype)
