"""Models in one call."""

from iwae_tf.layers import IndependentBernoulli, IndependentNormal, StandardNormal
from iwae_tf.layers.base import as_sizes
from iwae_tf.model import IWAE
from iwae_tf.networks import ConvDecoder, ConvEncoder


def mlp(event_shape, latent_sizes=(50,), hidden_sizes=((200, 200),), activation="tanh", mean=None, **kwargs):
    """Makes an IWAE of multi-layer perceptrons, the generative network the mirror of the inference network.

    The defaults are the one-layer network of Burda, Grosse & Salakhutdinov 2015 (arXiv:1509.00519); their two-layer
    network is `latent_sizes=(100, 50), hidden_sizes=((200, 200), (100, 100))`.

    Args:
      event_shape: shape of one observation; its likelihood is Bernoulli.
      latent_sizes: sizes of z_1, ..., z_L.
      hidden_sizes: for each of them, the widths of the hidden layers between it and what lies below it.
      activation: that of the hidden layers.
      mean: training mean of the data in [0, 1], at whose logit the output bias starts; see `IndependentBernoulli`.
      **kwargs: `objective`, `preprocessing`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`.

    Raises:
      ValueError: if the two sequences of sizes differ in length or hold anything but positive integers.
    """
    latent_sizes = as_sizes(latent_sizes, "latent_sizes")
    if len(hidden_sizes) != len(latent_sizes):
        raise ValueError(
            "Expected hidden_sizes to hold one sequence of widths for each latent size. "
            f"Received: latent_sizes={latent_sizes!r}, hidden_sizes={hidden_sizes!r}"
        )
    common = {"activation": activation}
    down = [
        IndependentNormal(size, hidden=hidden, **common)
        for size, hidden in zip(latent_sizes[:-1], hidden_sizes[1:], strict=True)
    ]
    return IWAE(
        encoder=[
            IndependentNormal(size, hidden=h, **common) for size, h in zip(latent_sizes, hidden_sizes, strict=True)
        ],
        decoder=[*reversed(down), IndependentBernoulli(event_shape, mean=mean, hidden=hidden_sizes[0], **common)],
        prior=StandardNormal(latent_sizes[-1]),
        **kwargs,
    )


def conv(event_shape, latent_size=50, filters=(16, 32), kernel_size=3, activation="relu", mean=None, **kwargs):
    """Makes an IWAE of images with one stochastic layer and convolutional networks, one the mirror of the other.

    Args:
      event_shape: shape of one image, `(height, width, channels)`; its likelihood is Bernoulli.
      latent_size: size of z.
      filters: feature maps of the convolutions, from the image up; each halves height and width.
      kernel_size: height and width of every kernel.
      activation: that of every convolution.
      mean: training mean of the data in [0, 1], at whose logit the output bias starts; see `IndependentBernoulli`.
      **kwargs: `objective`, `preprocessing`, `seed` and the other arguments of `IWAE`.

    Returns:
      An `IWAE`.

    Raises:
      ValueError: if `event_shape` is not that of an image, or a size is no positive integer.
    """
    common = {"kernel_size": kernel_size, "activation": activation}
    encoder, decoder = ConvEncoder(filters, **common), ConvDecoder(event_shape, filters[::-1], **common)
    return IWAE(
        encoder=[IndependentNormal(latent_size, network=encoder)],
        decoder=[IndependentBernoulli(event_shape, mean=mean, network=decoder)],
        prior=StandardNormal(latent_size),
        **kwargs,
    )
