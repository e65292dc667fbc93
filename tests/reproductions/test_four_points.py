import math

import pytest

from iwae_tf import layers
from iwae_tf.reproductions import four_points


@pytest.mark.parametrize(
    "layer, expected", [(layers.IndependentNormal(2), math.log(2)), (layers.NormalMixture(2, num_components=2), 0.0)]
)
def test_two_gaussians(layer, expected):
    """One Gaussian covers one mode, for log 2 nats; a mixture of two is the target itself."""
    _, divergence = four_points.fit(layer, four_points.two_gaussians())
    assert divergence == pytest.approx(expected, abs=0.05)
