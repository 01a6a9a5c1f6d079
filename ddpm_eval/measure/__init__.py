"""What is measured: torch in, `Measurement` out."""
