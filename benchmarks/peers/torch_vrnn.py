"""A variational recurrent network with a particle filter in PyTorch, with a loop over the time steps."""

import itertools
import math

import torch
import torch.nn.functional as F  # noqa: N812


class Vrnn:
    """A model with the state of its training; see `jax_vrnn.Vrnn` for the arguments.

    Args:
      compiled: whether a step over time goes through `torch.compile`.
    """

    def __init__(self, rolls, num_samples, batch_size, num_layers=1, size=32, seed=0, compiled=False):
        self.device = "gpu" if torch.cuda.is_available() else "cpu"
        torch.set_default_device("cuda" if self.device == "gpu" else "cpu")
        torch.manual_seed(seed)
        self.num_samples, self.batch_size = num_samples, batch_size
        self._rolls = torch.as_tensor(rolls).to(torch.get_default_device()).float() / 255
        self.network = Network(rolls.shape[-1], size, self._rolls.mean((0, 1)))
        self._optimizer = torch.optim.Adam(self.network.parameters(), 1e-3, fused=True)
        if compiled:
            self.network.advance = torch.compile(self.network.advance, dynamic=False)

    def train(self, num_steps):
        """Runs optimiser steps and returns the mean of their losses."""
        total = torch.zeros(())
        for index in torch.randint(len(self._rolls), (num_steps, self.batch_size)):
            loss = -self.network.bound(self._rolls[index], self.num_samples).mean()
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
            total += loss.detach()
        return total.item() / num_steps

    @torch.inference_mode()
    def log_likelihood(self, x, num_samples):
        """Returns the filter's estimates of sequences `[m, time, notes]`, `[m]`."""
        x = torch.as_tensor(x).to(torch.get_default_device()).float()
        return torch.cat([self.network.bound(x[i : i + 1], num_samples) for i in range(len(x))]).cpu().numpy()


class MLP(torch.nn.Module):
    """Dense layers with ReLU between them, Glorot uniform weights, zero biases."""

    def __init__(self, *widths):
        super().__init__()
        self.layers = torch.nn.ModuleList(itertools.starmap(torch.nn.Linear, itertools.pairwise(widths)))
        for layer in self.layers:
            torch.nn.init.xavier_uniform_(layer.weight)
            torch.nn.init.zeros_(layer.bias)

    def forward(self, h):
        *hidden, last = self.layers
        for layer in hidden:
            h = F.relu(layer(h))
        return last(h)


class Network(torch.nn.Module):
    """The cell and the three perceptrons."""

    def __init__(self, notes, size, mean):
        super().__init__()
        self.size = size
        self.register_buffer("mean", mean)
        self.cell = torch.nn.LSTMCell(notes + size, size)
        self.prior, self.proposal = MLP(size, size, 2 * size), MLP(notes + size, size, 2 * size)
        self.emission = MLP(2 * size, size, notes)

    def advance(self, x_t, features, earlier, z, h, c, log_w, total, noise, uniform):
        """Moves, weights and resamples the particles of one step; z, h and c are `[k, batch, size]`."""
        k, batch = log_w.shape
        read = torch.cat([earlier.expand(k, -1, -1), z], -1).flatten(0, 1)
        h, c = (v.unflatten(0, (k, batch)) for v in self.cell(read, (h.flatten(0, 1), c.flatten(0, 1))))
        prior_mean, prior_scale = normal(self.prior(h))
        shift, scale = normal(self.proposal(torch.cat([features.expand(k, -1, -1), h], -1)))
        mean = prior_mean + shift
        z = mean + scale * noise
        logits = self.emission(torch.cat([z, h], -1))
        log_p = (x_t * logits - F.softplus(logits)).sum(-1)
        log_w = log_w + log_p + log_normal(z, prior_mean, prior_scale) - log_normal(z, mean, scale)
        weights = torch.softmax(log_w.detach(), 0)
        needed = 1 / weights.square().sum(0) <= k / 2
        ancestors = (uniform[..., None] > weights.cumsum(0).T[None]).sum(-1).clamp(max=k - 1)
        ancestors = torch.where(needed, ancestors, torch.arange(k)[:, None])
        index = ancestors[..., None].expand(-1, -1, self.size)
        z, h, c = (v.gather(0, index) for v in (z, h, c))
        total = total + torch.where(needed, torch.logsumexp(log_w, 0) - math.log(k), torch.zeros(()))
        return z, h, c, torch.where(needed, torch.zeros(()), log_w), total

    def bound(self, x, num_samples):
        """The log of the filter's estimate of p(x), for x `[batch, time, notes]`."""
        k, batch = num_samples, len(x)
        steps = x.transpose(0, 1)
        features = steps - self.mean
        earlier = torch.cat([torch.zeros_like(features[:1]), features[:-1]])
        noise = torch.randn(len(steps), k, batch, self.size)
        uniform = torch.rand(len(steps), k, batch)
        zeros = torch.zeros(k, batch, self.size)
        state = zeros, zeros, zeros, torch.zeros(k, batch), torch.zeros(batch)
        for t in range(len(steps)):
            state = self.advance(steps[t], features[t], earlier[t], *state, noise[t], uniform[t])
        *_, log_w, total = state
        return total + torch.logsumexp(log_w, 0) - math.log(k)


def normal(output):
    """Mean and scale of a Gaussian."""
    mean, raw = output.chunk(2, -1)
    return mean, F.softplus(raw + 0.25)


def log_normal(z, mean, scale):
    """Log density up to the constant, which cancels."""
    return (-0.5 * ((z - mean) / scale).square() - scale.log()).sum(-1)
