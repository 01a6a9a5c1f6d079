"""Which times a walk visits: laws, and agreement with the systems that the names come from."""

import itertools

import diffusers
import numpy as np
import pytest

from ddpm_train import spacing
from ddpm_train.errors import FixableError


def test_even_steps_go_from_1_to_T() -> None:
    for T, steps in ((1000, 50), (1000, 999), (200, 7), (2, 2)):
        times = spacing.even(T, steps)
        gaps = {b - a for a, b in itertools.pairwise(times)}
        assert (times[0], times[-1], len(times)) == (1, T, steps)
        assert max(gaps) - min(gaps) <= 1 and min(gaps) >= 1


@pytest.mark.parametrize("name", ["leading", "trailing"])
@pytest.mark.parametrize("steps", [1, 3, 10, 30, 50, 333, 1000])
def test_two_spacings_are_those_of_diffusers(name: str, steps: int) -> None:
    scheduler = diffusers.DDIMScheduler(timestep_spacing=name)
    scheduler.set_timesteps(steps)
    assert spacing.choose(name, 1000, steps) == [int(i) + 1 for i in reversed(scheduler.timesteps)]


@pytest.mark.parametrize("steps", [2, 10, 20, 50, 100])
def test_quad_is_that_of_the_ddim_paper(steps: int) -> None:
    """Appendix D: floor(c i^2), with c such that the last is near 0.8 T."""
    expected = {int(c) + 1 for c in 800 * (np.arange(steps) / (steps - 1)) ** 2 + 1e-9}
    assert spacing.choose("quad", 1000, steps) == sorted(expected)


def test_respacing_strings_have_the_rounding_of_improved_diffusion() -> None:
    """Numbers of ../shared/SYSTEMS.md, counted from 0 there."""
    theirs = [0, 42, 83, 125, 166, 208, 250, 291, 333, 375, 416, 458, 500, 541, 583, 624, 666, 708,
              749, 791, 832, 874, 916, 957, 999]  # fmt: skip
    assert spacing.choose("25", 1000) == [i + 1 for i in theirs]
    assert spacing.choose("ddim25", 1000) == [1 + i for i in range(0, 1000, 40)]
    assert spacing.choose("ddim25", 1000, steps=25) == spacing.choose("ddim25", 1000)
    sections = spacing.choose("10,5,5", 100)  # of 34, 33 and 33 times
    assert len(sections) == 20 and sections[9:16] == [34, 35, 43, 51, 59, 67, 68]


@pytest.mark.parametrize(
    ("T", "steps", "different"),
    [(1000, 25, 1), (1000, 125, 1), (4000, 125, 15)]
    + [(T, steps, 0) for T in (1000, 4000) for steps in (10, 20, 50, 100, 200, 250, 400, 500)],
)
def test_even_differs_from_their_strings_in_ties_alone(T: int, steps: int, different: int) -> None:
    ours, theirs = spacing.choose("even", T, steps), spacing.choose(str(steps), T)
    gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
    assert sum(gap != 0 for gap in gaps) == different and max(map(abs, gaps)) <= 1


def test_no_steps_are_all_steps() -> None:
    for name in ("even", "leading", "trailing"):
        assert spacing.choose(name, 7) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("odd", 1000), "spacing=odd: unknown"),
        (("10,", 1000), "spacing=10,: unknown"),
        (("even", 10, 11), "steps=11: the model has 10"),
        (("even", 10, -1), "choose 1 to 10"),
        (("60,60", 100), "60 steps in a section of 50"),
        (("0", 100), "choose 1 to 100"),
        (("ddim45", 1000), "no integer stride"),
        (("ddim0", 1000), "no integer stride"),
        (("25", 1000, 50), "spacing=25 has 25"),
    ],
)
def test_what_no_walk_visits_is_refused(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(FixableError, match=message):
        spacing.choose(*arguments)


def test_times_can_be_listed() -> None:
    assert spacing.choose("at 1,4,9,1000", 1000) == [1, 4, 9, 1000]
    for text in ("at 4,1", "at 1,1", "at 0,5", "at 1,1001"):
        with pytest.raises(FixableError, match="not rising times"):
            spacing.choose(text, 1000)
