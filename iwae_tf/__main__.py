"""`python -m iwae_tf` is `iwae-tf`."""

from iwae_tf.cli import app

app(prog_name="iwae-tf")
