"""Training: gradients, executions of several steps as one program, replicas and checkpoints."""

from iwae_tf.training import checkpoints, executions, gradients, replicas

__all__ = ["checkpoints", "executions", "gradients", "replicas"]
