"""The one-layer network of Burda et al. in pythae, for its likelihood; not among the extras, used where it is there."""

import torch
from pythae.models import IWAE, IWAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder

from benchmarks.cases import decoder_sizes, encoder_sizes, latent_sizes
from benchmarks.peers.torch_peer import MLP

CHUNK = 500  # samples of one image that `get_nll` decodes at once


class Encoder(BaseEncoder):
    """q(z|x); pythae's second parameter is the logarithm of the variance."""

    def __init__(self, sizes):
        super().__init__()
        self.mlp = MLP(sizes)

    def forward(self, x):
        mu, log_variance = self.mlp(x).chunk(2, -1)
        return ModelOutput(embedding=mu, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """p(x|z), as the means that pythae asks for."""

    def __init__(self, sizes):
        super().__init__()
        self.mlp = MLP(sizes)

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.mlp(z)))


class Peer:
    """A model with fresh weights; the arguments are those of the other peers, `num_layers` is 1."""

    def __init__(self, images_uint8, num_samples, batch_size, num_layers=1):
        (encoder,), (decoder,), (latent,) = (
            encoder_sizes(num_layers),
            decoder_sizes(num_layers),
            latent_sizes(num_layers),
        )
        self.device = "gpu" if torch.cuda.is_available() else "cpu"
        config = IWAEConfig(
            input_dim=(encoder[0],), latent_dim=latent, reconstruction_loss="bce", number_samples=num_samples
        )
        self._on = "cuda" if self.device == "gpu" else "cpu"
        self._model = IWAE(config, Encoder(encoder), Decoder(decoder)).to(self._on).eval()

    @torch.inference_mode()
    def log_likelihood(self, x, num_samples=5000):
        """Returns the mean of L_{num_samples} over binary float32 images `[m, 784]`."""
        return self._model.get_nll(torch.as_tensor(x, device=self._on), num_samples, CHUNK)
