"""The same functions, sooner: how CPUs and GPUs evaluate the networks."""
