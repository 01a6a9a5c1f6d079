"""``python -m ddpm_train`` is ``ddpm-train`` (torchrun wants a module)."""

from ddpm_train.cli import main

main()
