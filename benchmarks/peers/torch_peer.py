"""The one- and two-layer networks of Burda et al. in PyTorch, eager or through `torch.compile`."""

import itertools
import math

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.cases import decoder_sizes, encoder_sizes

CHUNK = 2500  # samples of one image that `log_likelihood` decodes at once


class Peer:
    """A model with the state of its training.

    Args:
      images_uint8: grey values `[n, 784]`, binarised anew at every step.
      num_samples: k, importance samples per observation.
      batch_size: observations per step, drawn with replacement.
      num_layers: 1 or 2 stochastic layers.
      seed: integer seed of the weights and of all draws.
      compiled: whether the loss and its gradient go through `torch.compile`.
    """

    def __init__(self, images_uint8, num_samples, batch_size, num_layers=1, seed=0, compiled=False):
        self.device = "gpu" if torch.cuda.is_available() else "cpu"
        torch.set_default_device("cuda" if self.device == "gpu" else "cpu")
        torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as JAX and TensorFlow have it
        torch.manual_seed(seed)
        self.num_samples, self.batch_size = num_samples, batch_size
        self._images = torch.as_tensor(images_uint8, device=torch.get_default_device())
        self.network = Network(num_layers)
        self._optimizer = torch.optim.Adam(self.network.parameters(), 1e-3, (0.9, 0.999), 1e-4, fused=True)
        self._loss, self._log_weights = self.network.loss, self.network.log_weights
        if compiled:
            self._loss = torch.compile(self._loss, fullgraph=True, dynamic=False)
            self._log_weights = torch.compile(self._log_weights, dynamic=False)

    def train(self, num_steps):
        """Runs optimiser steps and returns the mean of their losses; the first call compiles."""
        total = torch.zeros(())
        for index in torch.randint(len(self._images), (num_steps, self.batch_size)):
            grey = self._images[index]
            x = (torch.rand(grey.shape).mul_(255) < grey).float()
            loss = self._loss(x, self.network.noise(self.num_samples, self.batch_size))
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        return total.item() / num_steps

    @torch.inference_mode()
    def log_likelihood(self, x, num_samples=5000):
        """Returns L_{num_samples} of binary float32 images `[m, 784]`, `[m]`."""
        x = torch.as_tensor(x, device=torch.get_default_device())
        posterior = self.network.encoder[0](x)
        sizes = [CHUNK] * (num_samples // CHUNK) + [num_samples % CHUNK] * (num_samples % CHUNK > 0)
        results = torch.empty(len(x))
        for i in range(len(x)):
            parts = [
                torch.logsumexp(self._log_weights(posterior[i : i + 1], x[i : i + 1], self.network.noise(size, 1)), 0)
                for size in sizes
            ]
            results[i] = torch.logsumexp(torch.cat(parts), 0) - math.log(num_samples)
        return results.cpu().numpy()


class MLP(torch.nn.Module):
    """Dense layers with tanh between them, Glorot uniform weights, zero biases."""

    def __init__(self, sizes):
        super().__init__()
        self.layers = torch.nn.ModuleList(itertools.starmap(torch.nn.Linear, itertools.pairwise(sizes)))
        for layer in self.layers:
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)

    def forward(self, h):
        *hidden, last = self.layers
        for layer in hidden:
            h = torch.tanh_(layer(h))
        return last(h)


class Network(torch.nn.Module):
    """The inference network, bottom up, and the generative one, top down."""

    def __init__(self, num_layers):
        super().__init__()
        self.encoder = torch.nn.ModuleList(map(MLP, encoder_sizes(num_layers)))
        self.decoder = torch.nn.ModuleList(map(MLP, decoder_sizes(num_layers)))

    def noise(self, num_samples, batch_size):
        """Standard normal draws for every layer, outside the compiled part."""
        return [torch.randn(num_samples, batch_size, mlp.layers[-1].out_features // 2) for mlp in self.encoder]

    def log_weights(self, posterior, x, noise):
        """log p(x, z) - log q(z|x), `[num_samples, batch]`; the normal constants of p and q cancel."""
        log_w, z = 0.0, []
        for i, eps in enumerate(noise):
            mu, log_sigma = (posterior if i == 0 else self.encoder[i](z[-1])).chunk(2, -1)
            z.append(mu + log_sigma.exp() * eps)
            log_w = log_w + 0.5 * eps.square().sum(-1) + log_sigma.sum(-1)
        log_w = log_w - 0.5 * z[-1].square().sum(-1)
        for mlp, above, below in zip(self.decoder[:-1], z[:0:-1], z[-2::-1], strict=True):
            mu, log_sigma = mlp(above).chunk(2, -1)
            log_w = log_w - 0.5 * ((below - mu) * torch.exp(-log_sigma)).square().sum(-1) - log_sigma.sum(-1)
        logits = self.decoder[-1](z[0])
        return log_w + (x * logits - F.softplus(logits)).sum(-1)

    def loss(self, x, noise):
        """-L_k, averaged over the batch."""
        log_w = self.log_weights(self.encoder[0](x), x, noise)
        return math.log(len(log_w)) - torch.logsumexp(log_w, 0).mean()
