"""Trained models that come with the package."""

from pathlib import Path

import keras

from iwae_tf.checks import check_choice
from iwae_tf.files import compute_checksum
from iwae_tf.model import IWAE

#: The folder in an installed package, and in a checkout.
FOLDERS = (Path(__file__).parent / "saved_models", Path(__file__).parents[1] / "saved_models")


def load_pretrained(name: str) -> IWAE:
    """Loads a trained model that comes with the package.

    The model card, `saved_models/NAME/README.md`, says what the model was trained on, how, and how good it is. Beside
    it lies the SavedModel, for scoring without this package.

    Args:
      name: `"mnist_iwae_1l"` or `"mnist_iwae_2l"`, models of binarised MNIST with one and two stochastic layers.

    Returns:
      An `IWAE` that is not compiled; compile it to train it further.

    Raises:
      ValueError: if there is no model of this name, or its file is not the one that was published.

    Example:
      ```python
      pretrained = iwae_tf.load_pretrained("mnist_iwae_1l")
      pretrained.sample(4, seed=0)  # [4, 28, 28, 1], means of the pixels
      ```
    """
    paths = {path.parent.name: path for folder in FOLDERS for path in folder.glob("*/model.keras")}
    check_choice(name, "name", sorted(paths))
    published, actual = paths[name].with_suffix(".sha256").read_text().split()[0], compute_checksum(paths[name])
    if actual != published:
        raise ValueError(f"Expected {paths[name]} with the SHA-256 {published}. Received: {actual}")
    return keras.saving.load_model(paths[name])
