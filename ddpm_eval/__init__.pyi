"""The door: every public function, one line each; ``__init__.py`` imports it when it is needed."""

from ddpm_eval.door.archives import archive as archive
from ddpm_eval.door.bound import baselines as baselines
from ddpm_eval.door.bound import bits_per_dim as bits_per_dim
from ddpm_eval.door.bound import rate_distortion as rate_distortion
from ddpm_eval.door.files import calibrate as calibrate
from ddpm_eval.door.files import compress as compress
from ddpm_eval.door.files import decompress as decompress
from ddpm_eval.door.guidance import guide as guide
from ddpm_eval.door.images import images as images
from ddpm_eval.door.neighbours import neighbours as neighbours
from ddpm_eval.door.pictures import interpolate as interpolate
from ddpm_eval.door.pictures import progressive as progressive
from ddpm_eval.door.pictures import reconstruct as reconstruct
from ddpm_eval.door.quality import quality as quality
from ddpm_eval.door.reports import report as report
from ddpm_eval.door.samples import sample as sample
from ddpm_eval.door.scales import guidance as guidance
from ddpm_eval.door.training import training as training
from ddpm_eval.door.wrapping import wrap as wrap
from ddpm_eval.loading import load as load
