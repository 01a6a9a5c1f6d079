"""The presets: each returns the whole settings of a run, on one screen."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from ddpm_train.architectures import RefineNetConfig, UNetConfig
from ddpm_train.config import (
    ComputeConfig,
    DataConfig,
    LogConfig,
    ObjectiveConfig,
    OptimConfig,
    RunConfig,
    ScheduleConfig,
    schedule_of_levels,
)


def cifar10() -> RunConfig:
    """CIFAR-10, unconditional, as in the paper: 35.7M parameters, 800k steps.

    >>> cifar10().optim.lr
    0.0002
    """
    return RunConfig(preset="cifar10", data=DataConfig(source="cifar10"))


def cifar10_conditional() -> RunConfig:
    """CIFAR-10, conditional on the class: the paper's network with a label embedding."""
    run = cifar10()
    return replace(
        run,
        preset="cifar10-conditional",
        data=replace(run.data, labels=True),
        unet=replace(run.unet, classes=10),
    )


def _size256(preset: str, *, source: Literal["folder", "lmdb"], steps: int) -> RunConfig:
    """The settings that the paper's 256x256 runs share: 113.7M parameters."""
    return RunConfig(
        preset=preset,
        data=DataConfig(source=source, resize="lanczos"),
        unet=UNetConfig(image_size=256, channel_mult=(1, 1, 2, 2, 4, 4), dropout=0.0),
        objective=ObjectiveConfig(variance="fixedsmall"),
        optim=OptimConfig(lr=2e-5, batch_size=64, steps=steps),
    )


def celebahq256() -> RunConfig:
    """CelebA-HQ 256x256 from a folder or zip of images (--data): 0.5M steps."""
    return _size256("celebahq256", source="folder", steps=500_000)


def lsun_church() -> RunConfig:
    """LSUN church outdoor 256x256 from lmdb or a folder: 1.2M steps."""
    return _size256("lsun-church", source="lmdb", steps=1_200_000)


def lsun_bedroom() -> RunConfig:
    """LSUN bedroom 256x256 from lmdb or a folder: 2.4M steps, no flips (paper)."""
    run = _size256("lsun-bedroom", source="lmdb", steps=2_400_000)
    return replace(run, data=replace(run.data, flip=False))


def lsun_bedroom_large() -> RunConfig:
    """The paper's larger bedroom model: 1.15M steps. Its width of 192 (255.7M) is an inference."""
    run = lsun_bedroom()
    return replace(
        run,
        preset="lsun-bedroom-large",
        unet=replace(run.unet, base_channels=192),
        optim=replace(run.optim, steps=1_150_000),
    )


def lsun_cat() -> RunConfig:
    """LSUN cat 256x256 from lmdb or a folder: 1.8M steps, no flips (original code)."""
    run = _size256("lsun-cat", source="lmdb", steps=1_800_000)
    return replace(run, data=replace(run.data, flip=False))


def digits() -> RunConfig:
    """scikit-learn's 8x8 digits on a laptop: the whole way in two minutes, no science."""
    return RunConfig(
        preset="digits",
        data=DataConfig(source="digits", flip=False),
        schedule=ScheduleConfig(T=200, beta_start=5e-4, beta_end=0.1),
        unet=UNetConfig(
            image_size=8,
            channels=1,
            base_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attn_resolutions=(4,),
            dropout=0.0,
        ),
        optim=OptimConfig(lr=2e-3, warmup_steps=100, batch_size=64, steps=1000, ema_decay=0.99),
        compute=ComputeConfig(threads=1),  # too small to share
        log=LogConfig(sample_every=500, checkpoint_every=250, keep=4),  # for watch
    )


def digits_conditional() -> RunConfig:
    """scikit-learn's 8x8 digits, conditional on the class: the whole way in two minutes."""
    run = digits()
    return replace(
        run,
        preset="digits-conditional",
        data=replace(run.data, labels=True),
        unet=replace(run.unet, classes=10),
    )


def digits_likelihood() -> RunConfig:
    """scikit-learn's 8x8 digits for bits/dim, on a laptop: likelihood32's recipe in two minutes."""
    run = digits()
    return replace(
        run,
        preset="digits-likelihood",
        schedule=ScheduleConfig(kind="log_snr", T=200, snr_start=2e3, snr_end=1e-3),
        objective=ObjectiveConfig(loss="L", variance="optimal", times="importance"),
        optim=replace(run.optim, decay="cosine", grad_clip=0.0),
    )


def folder() -> RunConfig:
    """Your own 32x32 RGB images: a folder or zip of PNG, JPEG or WebP, or an .npz (--data)."""
    return replace(cifar10(), preset="folder", data=DataConfig(source="folder"))


def iddpm_cifar10() -> RunConfig:
    """CIFAR-10 as in improved DDPM: cosine T = 4000, hybrid loss, learned range, 500k steps.

    Nichol and Dhariwal (2021), their flags for CIFAR-10. ``--set objective.loss=L
    --set objective.times=importance`` trains for bits/dim as their L_vlb does.
    """
    return RunConfig(
        preset="iddpm-cifar10",
        data=DataConfig(source="cifar10", flip=False),
        schedule=ScheduleConfig(kind="cosine", T=4000),
        unet=UNetConfig(
            num_res_blocks=3,
            attn_resolutions=(16, 8),
            dropout=0.3,
            time_order="cos_sin",
            time_freq_shift=0,
            time_scale=0.25,
            time_modulation="scale_shift",
            pad_down="both",
            norm_eps=1e-5,
            heads=4,
        ),
        objective=ObjectiveConfig(loss="hybrid", variance="learned_range"),
        optim=OptimConfig(lr=1e-4, warmup_steps=0, steps=500_000, grad_clip=0.0),
    )


def _score_network(
    name: str, data: DataConfig, network: RefineNetConfig, optim: OptimConfig
) -> RunConfig:
    """A score network and its levels of noise, seen as a process that keeps the variance."""
    return RunConfig(
        preset=name,
        data=data,
        schedule=schedule_of_levels(network),
        network="refinenet",
        refinenet=network,
        objective=ObjectiveConfig(prediction="score", loss="mse"),
        optim=optim,
        log=LogConfig(sample_every=0),
    )


def ncsn_cifar10() -> RunConfig:
    """NCSN on CIFAR-10 (Song and Ermon 2019): ten levels of noise, 200k steps, no average."""
    network = RefineNetConfig(conditional=True, levels=10, sigma_begin=1.0)
    optim = OptimConfig(lr=1e-3, warmup_steps=0, steps=200_000, grad_clip=0.0, ema_decay=0.0)
    return _score_network("ncsn-cifar10", DataConfig(source="cifar10"), network, optim)


def ncsnv2_cifar10() -> RunConfig:
    """NCSNv2 on CIFAR-10 (Song and Ermon 2020): 232 levels of noise, 300k steps."""
    optim = OptimConfig(lr=1e-4, warmup_steps=0, steps=300_000, grad_clip=0.0, ema_decay=0.999)
    data = DataConfig(source="cifar10")
    return _score_network("ncsnv2-cifar10", data, RefineNetConfig(), optim)


def ncsn_digits() -> RunConfig:
    """NCSNv2 on scikit-learn's 8x8 digits, on a laptop: 50 levels of noise, under five minutes.

    Samples: ``--sampler langevin --set samples.step_lr=4e-5``, five steps a level.
    """
    network = RefineNetConfig(
        image_size=8, channels=1, base_channels=16, levels=50, sigma_begin=5.0, sigma_end=0.02
    )
    optim = OptimConfig(
        lr=1e-3, warmup_steps=50, batch_size=64, steps=2000, grad_clip=1.0, ema_decay=0.99
    )
    run = _score_network("ncsn-digits", digits().data, network, optim)
    log = LogConfig(sample_every=0, checkpoint_every=250)
    return replace(run, compute=ComputeConfig(threads=1), log=log)


def likelihood32() -> RunConfig:
    """Your own 32x32 RGB images for bits/dim, on a laptop: 2.2M parameters, 80 minutes of one core.

    What trains it is the code length under the best variance of every step, at times drawn by what
    they cost.
    """
    return RunConfig(
        preset="likelihood32",
        data=DataConfig(source="folder"),
        schedule=ScheduleConfig(kind="log_snr", snr_start=2e4),
        unet=UNetConfig(
            base_channels=64,
            channel_mult=(1, 1, 1),
            num_res_blocks=2,
            attn_resolutions=(),
            dropout=0.0,
        ),
        objective=ObjectiveConfig(loss="L", variance="optimal", times="importance"),
        optim=OptimConfig(
            lr=1e-3,
            warmup_steps=100,
            decay="cosine",
            batch_size=16,
            steps=7500,
            grad_clip=0.05,
            ema_decay=0.998,
        ),
        compute=ComputeConfig(threads=1),
        log=LogConfig(sample_every=0, checkpoint_every=1000),
    )


PRESETS: dict[str, Callable[[], RunConfig]] = {
    "cifar10": cifar10,
    "cifar10-conditional": cifar10_conditional,
    "celebahq256": celebahq256,
    "lsun-bedroom": lsun_bedroom,
    "lsun-bedroom-large": lsun_bedroom_large,
    "lsun-church": lsun_church,
    "lsun-cat": lsun_cat,
    "digits": digits,
    "digits-conditional": digits_conditional,
    "digits-likelihood": digits_likelihood,
    "folder": folder,
    "iddpm-cifar10": iddpm_cifar10,
    "likelihood32": likelihood32,
    "ncsn-cifar10": ncsn_cifar10,
    "ncsnv2-cifar10": ncsnv2_cifar10,
    "ncsn-digits": ncsn_digits,
}
