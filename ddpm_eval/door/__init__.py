"""The public functions, one file for each group; ``ddpm_eval/__init__.pyi`` lists them all."""
