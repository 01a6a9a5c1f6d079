"""``python -m ddpm_eval`` is ``ddpm-eval`` (torchrun wants a module)."""

from ddpm_eval.cli import main

main()
