"""What is measured: three houses, each with its settings; results are ``Measurement``s."""
