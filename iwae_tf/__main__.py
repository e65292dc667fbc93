"""Runs `iwae-tf` as `python -m iwae_tf`."""

from iwae_tf.cli import app

app(prog_name="iwae-tf")
