"""Settings of the measure of real files."""

from dataclasses import dataclass
from typing import Annotated

from ddpm_train.leaves import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """Files of a model's codec, and those of other codecs on the same images."""

    effort: Annotated[int, Range(10, 16)] = 13  # how long short codewords are looked for
    portable: bool = True  # exact on other machines too
    prefixes: Annotated[int, Range(0, 255)] = 0  # of each file that are decoded; 0: at each layer
    shown: Annotated[int, Range(0, 100)] = 8  # images whose prefixes are kept as pictures
    codecs: bool = True  # compare PNG, WebP, JPEG XL, AVIF, JPEG and JPEG 2000
