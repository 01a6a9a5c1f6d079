"""Faults: the real commands, attacked; ``make faults`` prints what was tried, held and failed."""
