"""The door: every public function, one line each; ``__init__.py`` imports it when it is needed."""

from ddpm_eval.door.images import images as images
from ddpm_eval.door.wrapping import wrap as wrap
from ddpm_eval.model import load as load
