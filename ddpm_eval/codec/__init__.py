"""Real files from a diffusion model: progressive layers that end in the exact pixels."""
