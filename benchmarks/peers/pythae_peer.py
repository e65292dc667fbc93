"""The one-layer network of Burda et al. in pythae; not among the extras, used where it is there."""

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
    """A model with the state of its training; the arguments are those of `torch_peer.Peer`, `num_layers` is 1."""

    def __init__(self, images_uint8, num_samples, batch_size, num_layers=1, seed=0):
        torch.manual_seed(seed)
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
        self._model = IWAE(config, Encoder(encoder), Decoder(decoder)).to(self._on)
        self._images, self._batch_size = torch.as_tensor(images_uint8, device=self._on), batch_size
        self._optimizer = torch.optim.Adam(self._model.parameters(), 1e-3, (0.9, 0.999), 1e-4, fused=True)

    def train(self, num_steps):
        """Runs optimiser steps and returns the mean of their losses."""
        self._model.train()
        total = torch.zeros((), device=self._on)
        for index in torch.randint(len(self._images), (num_steps, self._batch_size)):
            grey = self._images[index]
            x = (torch.rand(grey.shape, device=self._on).mul_(255) < grey).float()
            loss = self._model({"data": x}).loss
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        return total.item() / num_steps

    @torch.inference_mode()
    def log_likelihood(self, x, num_samples=5000):
        """Returns the mean of L_{num_samples} over binary float32 images `[m, 784]`."""
        self._model.eval()
        return self._model.get_nll(torch.as_tensor(x, device=self._on), num_samples, CHUNK)
