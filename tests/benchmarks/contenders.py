"""Contenders that do nothing, for the tests of the turns."""


class Idle:
    device = "cpu"

    def __init__(self, images, num_samples, batch_size, num_layers, value=1.0):
        self.value = value

    def train(self, num_steps):
        print("what a library prints does not come between the replies")
        return num_steps * self.value

    def log_likelihood(self, x, num_samples):
        raise ValueError(f"no likelihood of {x.shape}")
