"""From integers to real numbers: what is added to a level so that a density can score it.

A level x becomes x + u with u in [0, 1], of which the model has a density. Integrated over u, the density is the mass
of x; with u drawn from a distribution q(u | x), the mean of p / q is an unbiased estimate of that mass.

Uniform noise: Theis, van den Oord and Bethge, "A note on the evaluation of generative models", ICLR 2016. A learned q:
Ho et al., "Flow++", ICML 2019.
"""

import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform, ComposeTransform, SigmoidTransform

from pixellib.data.transforms import scale
from pixellib.models.flows.layers import AffineCoupling, GatedConvNet, checkerboard_mask

EDGE = 1e-5  # by which [0, 1] is shrunk before its logit is taken, so that no number becomes infinite


def logit_transform() -> ComposeTransform:
    """The transform from [0, 1] to the real line: a logit, after the interval was shrunk a little.

    >>> logit_transform()(torch.tensor([0.0, 0.5])).round()
    tensor([-12.,   0.])
    """
    return ComposeTransform([AffineTransform(EDGE / 2, 1 - EDGE), SigmoidTransform().inv])


class UniformDequantisation(nn.Module):
    """u uniform in [0, 1], whatever the image is.

    >>> u, log_q = UniformDequantisation()(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), num_levels=256)
    >>> u.shape, log_q
    (torch.Size([2, 1, 4, 4]), tensor([0., 0.]))
    """

    def forward(self, x: Tensor, num_levels: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Noise for x, integers (B, C, H, W): u, float (B, C, H, W), and log q(u | x), float (B,)."""
        u = torch.rand(x.shape, generator=generator, device=x.device)
        return u, u.new_zeros(len(u))


class VariationalDequantisation(nn.Module):
    """u from a flow that sees the image: logistic noise, coupling layers conditioned on x, a sigmoid.

    Before training the couplings are the identity, and u is uniform.
    """

    def __init__(self, channels: int, size: tuple[int, int], num_couplings: int = 4, num_filters: int = 16):
        super().__init__()
        self.couplings = nn.ModuleList()
        for i in range(num_couplings):
            network = GatedConvNet(2 * channels, 2 * channels, num_filters)
            self.couplings.append(AffineCoupling(network, checkerboard_mask(*size, invert=i % 2 == 1), channels))

    def forward(self, x: Tensor, num_levels: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """See UniformDequantisation."""
        uniform = torch.rand(x.shape, generator=generator, device=x.device)
        image = scale(x, num_levels)
        logit = logit_transform()
        noise = logit(uniform)
        log_q = -logit.log_abs_det_jacobian(uniform, noise).sum((1, 2, 3))
        for coupling in self.couplings:
            noise, log_det = coupling(noise, image)
            log_q = log_q - log_det
        sigmoid = SigmoidTransform()
        u = sigmoid(noise)
        return u, log_q - sigmoid.log_abs_det_jacobian(noise, u).sum((1, 2, 3))
