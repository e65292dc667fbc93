import logging

import tensorflow as tf

from iwae_tf import compiling


def test_functions_of_one_definition_are_counted_apart():
    """Ten models would make ten such functions; TensorFlow warns when five are traced."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append

    def make(number, wrap):
        return wrap(lambda x: x + number)

    tf.get_logger().addHandler(handler)
    try:
        assert [make(i, compiling.function)(tf.constant(1)).numpy() for i in range(10)] == list(range(1, 11))
        assert not records
        for i in range(10):
            make(i, tf.function)(tf.constant(1))
        assert "retracing" in records[0].getMessage(), "or this test sees nothing"
    finally:
        tf.get_logger().removeHandler(handler)
