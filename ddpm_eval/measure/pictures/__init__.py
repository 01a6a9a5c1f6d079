"""Samples, and pictures of what the chain does."""
