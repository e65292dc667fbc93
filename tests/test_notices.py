"""What TensorFlow says on stderr stays hidden, unless something goes wrong."""

import os
import sys

import pytest

from iwae_tf.notices import hide_stderr


def test_notices_are_hidden_and_errors_are_not(capfd):
    with hide_stderr():
        os.write(2, b"a notice of native code\n")
    print("later", file=sys.stderr)
    assert capfd.readouterr().err == "later\n"
    with pytest.raises(ImportError), hide_stderr():
        os.write(2, b"a reason\n")
        raise ImportError
    print("later", file=sys.stderr)
    assert capfd.readouterr().err == "a reason\nlater\n"
