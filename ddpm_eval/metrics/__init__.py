"""Pure metrics: arrays in, numbers out."""
