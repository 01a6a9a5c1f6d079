"""Samples against a reference."""
