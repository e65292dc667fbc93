"""A convolution and its gradients in PyTorch."""

import torch

from benchmarks.cases import CONVOLUTIONS


class Layer:
    """See `convolutions.Ours` for the arguments."""

    def __init__(self, images, num_samples, batch_size, num_layers=1, name=""):
        case = CONVOLUTIONS[name]
        self.device = "gpu" if torch.cuda.is_available() else "cpu"
        torch.set_default_device("cuda" if self.device == "gpu" else "cpu")
        torch.manual_seed(0)
        self._x = torch.randn(batch_size, case.channels, case.height, case.width)
        padding = tuple(n // 2 for n in case.kernel)
        arguments = (case.channels, case.filters, case.kernel, case.stride, padding)
        if case.transposed:
            self._layer = torch.nn.ConvTranspose2d(*arguments, output_padding=case.stride - 1, bias=False)
        else:
            self._layer = torch.nn.Conv2d(*arguments, bias=False)

    def train(self, num_steps):
        """Runs steps, each of which needs the one before; returns the last sum of the kernel's gradient."""
        x = self._x
        for _ in range(num_steps):
            x = x.detach().requires_grad_()
            self._layer.weight.grad = None
            self._layer(x).square().sum().backward()
            x = x + 1e-9 * x.grad
        return float(self._layer.weight.grad.sum())
