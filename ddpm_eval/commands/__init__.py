"""The commands of ``ddpm-eval``, one file for what belongs together; cli.py lists them all."""
