"""Records of schema 1: read, and turned into records of today."""

from ddpm_eval.record.schema1.types import SCHEMA as SCHEMA
from ddpm_eval.record.schema1.types import Curve as Curve
from ddpm_eval.record.schema1.types import Measurement as Measurement
from ddpm_eval.record.schema1.types import Quantity as Quantity
from ddpm_eval.record.schema1.types import Report as Report
from ddpm_eval.record.schema1.types import decode as decode
