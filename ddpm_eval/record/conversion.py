"""From schema 1 to the types of today."""

from ddpm_eval.record.schema1.convert import convert as convert
from ddpm_eval.record.schema1.convert import measurement as measurement
