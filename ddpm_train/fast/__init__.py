"""Fast evaluation of the networks' functions on CPUs and GPUs."""
