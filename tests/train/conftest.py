from dataclasses import replace

import pytest

from ddpm_train.config import LogConfig, RunConfig
from ddpm_train.presets import PRESETS
from ddpm_train.settings import override


def make_tiny() -> RunConfig:
    """The smallest run that has every part: attention, dropout, flips, warmup, two levels."""
    config = override(
        PRESETS["digits"](),
        [
            "unet.dropout=0.2",
            "data.flip=true",
            "schedule.T=20",
            "schedule.beta_end=0.5",
            "optim.steps=6",
            "optim.warmup_steps=3",
            "optim.batch_size=6",
        ],
    )
    log = LogConfig(every=1, sample_every=0, checkpoint_every=2, keep=0)
    return replace(config, log=log)


@pytest.fixture
def tiny() -> RunConfig:
    return make_tiny()
