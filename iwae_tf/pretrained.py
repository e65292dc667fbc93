"""Trained models that come with the package."""

from pathlib import Path

import keras

from iwae_tf.checks import check_choice

#: In an installed package, and in a checkout.
FOLDERS = (Path(__file__).parent / "saved_models", Path(__file__).parents[1] / "saved_models")


def load_pretrained(name):
    """Loads a trained model that comes with the package.

    What it was trained on, how, and how good it is says the model card, `saved_models/NAME/README.md`. There is its
    SavedModel too, for scoring without this package.

    Args:
      name: `"mnist_iwae"`, a model of binarised MNIST.

    Returns:
      An `IWAE`, not compiled: compile it to train it further.

    Raises:
      ValueError: if there is no such model.
    """
    found = {path.parent.name: path for folder in FOLDERS for path in folder.glob("*/model.keras")}
    check_choice(name, "name", sorted(found))
    return keras.saving.load_model(found[name])
