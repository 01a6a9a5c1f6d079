"""The networks that OpenAI released, by the names of their files.

improved-diffusion's README and guided-diffusion's give the flags of each. A file does not hold
them, and neither do its shapes: heads, the order of attention's rows, the schedule and T.
"""

from dataclasses import dataclass, replace

from ddpm_train.architectures import UNetConfig
from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig


@dataclass(frozen=True, kw_only=True)
class Released:
    """A released network: its settings, and the order of attention's rows."""

    model: ModelConfig
    rows: str = "legacy"


IMPROVED = UNetConfig(
    base_channels=128,
    num_res_blocks=3,
    attn_resolutions=(16, 8),
    dropout=0.0,
    time_order="cos_sin",
    time_freq_shift=0,
    time_scale=0.25,
    time_modulation="scale_shift",
    pad_down="both",
    norm_eps=1e-5,
    heads=4,
)
GUIDED = replace(
    IMPROVED,
    image_size=256,
    base_channels=256,
    channel_mult=(1, 1, 2, 2, 4, 4),
    num_res_blocks=2,
    attn_resolutions=(32, 16, 8),
    time_scale=1.0,
    heads=1,
    head_channels=64,
    resample="block",
)


def _released(unet: UNetConfig, schedule: str, T: int, *, rows: str = "legacy") -> Released:
    learned = ObjectiveConfig(variance="learned_range")
    process = ScheduleConfig(kind=schedule, T=T, beta_start=0.1 / T, beta_end=20 / T)
    return Released(model=ModelConfig(unet=unet, schedule=process, objective=learned), rows=rows)


_CIFAR = _released(IMPROVED, "cosine", 4000)
_IMAGENET64 = _released(replace(IMPROVED, image_size=64, channel_mult=(1, 2, 3, 4)), "cosine", 4000)
_IMAGENET64_CLASSES = _released(
    replace(_IMAGENET64.model.unet, base_channels=192, classes=1000, time_scale=1.0),
    "cosine",
    4000,
)
_LSUN = _released(
    replace(
        IMPROVED,
        image_size=256,
        channel_mult=(1, 1, 2, 2, 4, 4),
        num_res_blocks=2,
        attn_resolutions=(16,),
        time_modulation="shift",
        time_scale=1.0,
        heads=1,
    ),
    "linear",
    1000,
)
_GUIDED256 = _released(GUIDED, "linear", 1000)

RELEASED: dict[str, Released] = {
    **dict.fromkeys(("cifar10_uncond_50M_500K", "cifar10_uncond_vlb_50M_500K"), _CIFAR),
    **dict.fromkeys(
        ("imagenet64_uncond_100M_1500K", "imagenet64_uncond_vlb_100M_1500K"), _IMAGENET64
    ),
    "imagenet64_cond_270M_250K": _IMAGENET64_CLASSES,
    **dict.fromkeys(("lsun_uncond_100M_1200K_bs128", "lsun_uncond_100M_2400K_bs64"), _LSUN),
    "64x64_diffusion": _released(
        replace(
            GUIDED,
            image_size=64,
            base_channels=192,
            channel_mult=(1, 2, 3, 4),
            num_res_blocks=3,
            classes=1000,
        ),
        "cosine",
        1000,
        rows="new",
    ),
    "128x128_diffusion": _released(
        replace(
            GUIDED,
            image_size=128,
            channel_mult=(1, 1, 2, 3, 4),
            heads=4,
            head_channels=0,
            classes=1000,
        ),
        "linear",
        1000,
    ),
    "256x256_diffusion": _released(replace(GUIDED, classes=1000), "linear", 1000),
    **dict.fromkeys(
        ("256x256_diffusion_uncond", "lsun_bedroom", "lsun_cat", "lsun_horse"), _GUIDED256
    ),
    "512x512_diffusion": _released(
        replace(
            GUIDED,
            image_size=512,
            base_channels=128,
            channel_mult=(1, 2, 2, 4, 4, 8, 8),
            time_channels=256,
            classes=1000,
        ),
        "linear",
        1000,
    ),
}
"""By the name of the file without ``.pt``."""

UNTOLD = ("unet.heads", "unet.head_channels", "unet.time_scale", "schedule.kind", "schedule.T")
"""Settings that neither a file nor its shapes tell."""


def same_shape(unet: UNetConfig, model: ModelConfig) -> bool:
    """Whether a released network has the weights' names and shapes of these settings."""
    other = model.unet
    bare = replace(
        other, heads=unet.heads, head_channels=unet.head_channels, time_scale=unet.time_scale
    )
    return replace(bare, dropout=unet.dropout) == unet


def names_of(unet: UNetConfig) -> list[str]:
    """The names of the released networks of one shape."""
    return [name for name, released in RELEASED.items() if same_shape(unet, released.model)]
