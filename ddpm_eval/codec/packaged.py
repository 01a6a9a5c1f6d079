"""The network that is packaged with this program, for pictures that come without a model of theirs.

It is the averaged network of ``ddpm-train likelihood32`` on 3,500 images of CIFAR-10, rounded to
16 bits, with the profile that ``ddpm-eval calibrate`` made on the same images; docs/compressing.md
says how, and what it reaches. A file names its profile by a digest, so that it is read by the
network that wrote it or by none.
"""

from pathlib import Path

NETWORK = Path(__file__).with_name("images32.pt")
"""A checkpoint, as ``ddpm_eval.load`` takes it; its profile lies beside it."""
