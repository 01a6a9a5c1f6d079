import math

import pytest
import torch

from ddpm_train import schedule
from ddpm_train.config import ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.schedule import SCHEDULES, at


@pytest.mark.parametrize("kind", SCHEDULES)
def test_tables_begin_clean_and_only_lose_signal(kind: str) -> None:
    tables = schedule.build(ScheduleConfig(kind=kind, T=100))
    assert tables.T == 100 and len(tables.betas) == len(tables.alphas_bar) == 101
    assert tables.alphas_bar[0] == 1 and tables.betas[0] == 0
    assert (tables.alphas_bar.diff() < 0).all() and tables.alphas_bar[-1] >= 0
    assert tables.posterior_variances[1] == 0
    assert (tables.posterior_variances[1:] <= tables.betas[1:]).all()
    assert tables.posterior_variances[0].isnan() and tables.alphas_bar_before[0].isnan()


def test_an_unknown_kind_is_refused_with_the_choices() -> None:
    with pytest.raises(FixableError, match=r"schedule\.kind=cubic: unknown\n.*linear, .* or "):
        schedule.build(ScheduleConfig(kind="cubic"))


def test_definitions() -> None:
    """Each schedule by the property that defines it."""
    T, start, end = 40, 0.001, 0.2
    linear, quad = schedule.linear(T, start, end), schedule.quad(T, start, end)
    assert linear.diff().std() < 1e-15 and quad.sqrt().diff().std() < 1e-15
    for betas in (linear, quad):
        assert betas[0].item() == pytest.approx(start) and betas[-1].item() == pytest.approx(end)
    for name, rising in (("warmup10", 4), ("warmup50", 20)):
        betas = SCHEDULES[name](T, start, end)
        torch.testing.assert_close(betas[:rising], schedule.linear(rising, start, end))
        assert (betas[rising - 1 :] == end).all()
    assert (schedule.const(T, start, end) == end).all()
    bar = schedule.from_betas(schedule.jsd(T, start, end)).alphas_bar
    torch.testing.assert_close(bar, 1 - torch.arange(T + 1).double() / T)
    bar = schedule.from_betas(schedule.cosine(T, start, end)).alphas_bar
    assert bar[20].item() == pytest.approx(
        (math.cos(0.508 / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2
    )


def test_the_algebra_is_done_before_the_lookup() -> None:
    """A float32 subtraction would leave four digits of 1 - alpha-bar_1."""
    tables = schedule.build(ScheduleConfig())
    like = torch.zeros(1, 3, 2, 2)
    result = at((1 - tables.alphas_bar).sqrt(), torch.tensor([1]), like)
    assert result.shape == (1, 1, 1, 1) and result.dtype == torch.float32
    assert result.item() == pytest.approx(0.01, rel=1e-7)


@pytest.mark.parametrize(
    "settings", [{"T": 1}, {"beta_end": 1.5}, {"beta_start": 0.0}, {"T": 100, "beta_end": -1.0}]
)
def test_impossible_schedules_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(FixableError, match=r"fix: .*(schedule\.|T of)"):
        schedule.build(ScheduleConfig(**settings))  # type: ignore[arg-type]
