"""What decides the training of a prior."""

from __future__ import annotations

from dataclasses import dataclass

from restorer.errors import UsageError
from restorer.networks.sizes import GFPGANSizes
from restorer.networks.stylegan2_discriminator import DiscriminatorSizes

AUGMENTATIONS = ("ada", "diffaugment", "none")


@dataclass(frozen=True)
class PriorSettings:
    """A run that trains StyleGAN2, the prior of a GFP-GAN, by itself. Lengths are counted in images.

    The defaults are StyleGAN2's; those of the augmentation are ADA's.
    """

    images: int
    """Length of the run."""
    sizes: GFPGANSizes
    """Sizes of the GFP-GAN that is to have the prior; those of its U-Net are not used."""
    discriminator_channels: tuple[int, ...] = ()
    """Channels of the discriminator's feature maps from 4×4 up; by default the prior's."""
    batch: int = 16
    parts: int = 1
    """Parts of a batch that are computed one after the other, or shared among processes; their gradients are averaged.
    A part should hold a multiple of four images, which the discriminator compares."""
    seed: int = 0
    learning_rate: float = 2e-3
    """Adam's, equalised; the mapping network learns at a hundredth."""
    discriminator_rate: float = 2e-3
    betas: tuple[float, float] = (0.0, 0.99)
    """Adam's memory of the gradient and of its square."""
    r1: float = 10.0
    """R1's γ; the smaller the images, the smaller it may be."""
    r1_every: int = 16
    """Steps from one R1 to the next (lazy regularisation)."""
    path_length: float = 2.0
    """Weight of the path length regularisation; 0: none."""
    path_every: int = 4
    """Steps from one path length regularisation to the next."""
    style_mixing: float = 0.9
    """Share of images drawn from two codes, one for the coarse layers, one for the fine ones."""
    augment: str = "ada"
    """``ada``: geometry and colour with a probability that follows the overfitting; ``diffaugment``: colour, shifts and
    cutout, always; ``none``."""
    ada_target: float = 0.6
    """Mean sign of the discriminator's scores on real images that is to be held."""
    ada_images: float = 500_000.0
    """Images in which ADA's probability can go from 0 to 1."""
    mirror: bool = True
    """Mirror every second real image."""
    ema_images: float = 10_000.0
    """Images over which the averaged generator forgets half."""
    bf16: bool = True
    """Autocast to bfloat16 where the device computes in it; regularisations, weights and optimisers stay float32."""
    save_every: int = 10_000
    """Images between two saved states."""
    log_every: int = 1
    """Images between two lines of the log, which hold means."""
    sheet_every: int = 10_000
    """Images between two sheets of samples."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if self.augment not in AUGMENTATIONS:
            raise UsageError(f"There is no augmentation {self.augment!r}: choose {', '.join(AUGMENTATIONS)}.")
        if self.parts < 1 or self.batch < 1 or self.batch % self.parts:
            raise UsageError(f"A batch of {self.batch} cannot be cut into {self.parts} equal parts.")
        if self.sizes.residual:
            raise UsageError("A prior draws whole faces: give its [sizes] residual = false.")
        if self.sizes.inner_size * self.sizes.patch != self.sizes.out_size:
            raise UsageError(f"{self.sizes} do not fit together: prior_channels needs a width for each side from 4 up.")
        if len(self.discriminator.channels) != len(self.sizes.prior_channels):
            raise UsageError("discriminator_channels needs a width for each side from 4 up, as many as prior_channels.")
        if min(self.save_every, self.log_every, self.sheet_every, self.r1_every, self.path_every) < 1:
            raise UsageError(
                "save_every, log_every, sheet_every, r1_every and path_every are numbers of images or steps and must "
                "be at least 1."
            )

    @property
    def discriminator(self) -> DiscriminatorSizes:
        """Sizes of the discriminator."""
        channels = self.discriminator_channels or self.sizes.prior_channels
        return DiscriminatorSizes(self.sizes.out_size, channels, self.sizes.patch)
