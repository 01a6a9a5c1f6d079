"""What a denoising diffusion model is, and how one is trained (Ho, Jain, Abbeel 2020)."""

__version__ = "0.1.0"
