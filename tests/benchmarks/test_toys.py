import math

import pytest

from benchmarks import toys


@pytest.mark.parametrize("name, divergence", [("diagonal", math.log(2)), ("mixture of 2", 0.0)])
def test_two_gaussians(name, divergence):
    """One Gaussian covers one mode, for log 2 nats; a mixture of two is the target itself."""
    _, found = toys.fit(toys.POSTERIORS[name](), toys.two_gaussians())
    assert found == pytest.approx(divergence, abs=0.05)


def test_four_points():
    """Two epochs: beyond the ELBO of four fair coins, short of the best there is."""
    q, elbo = toys.four_points(toys.POSTERIORS["diagonal"](), epochs=2)
    assert q.sample(3).shape == (3, 4, 2)
    assert 4 * math.log(0.5) - 0.1 < elbo < -math.log(4)
