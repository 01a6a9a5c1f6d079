"""Which images are used: drawn, the first, or all; a larger n extends a smaller one."""

import numpy as np
import pytest

from ddpm_eval.choice import ImageSet, choose
from ddpm_train.errors import FixableError
from tests.eval import jobs


def images(n: int = 50) -> ImageSet:
    return ImageSet.of(jobs.pictures(n, name="pictures test"), split="test")


def test_all_images_stay_in_their_order() -> None:
    for whole in (choose(images()), choose(images(), 50, seed=3)):
        assert whole.indices.tolist() == list(range(50))
        assert (whole.facts.choice, whole.facts.n, whole.facts.seed) == ("all", 50, None)
        assert (whole.dataset, whole.split, whole.name) == ("pictures", "test", "pictures test")


def test_a_larger_n_extends_a_smaller_one() -> None:
    few, more = choose(images(), 10, seed=1), choose(images(), 30, seed=1)
    assert more.indices[:10].tolist() == few.indices.tolist()
    assert len(set(more.indices.tolist())) == 30
    assert few.indices.tolist() != choose(images(), 10, seed=2).indices.tolist()
    assert (few.facts.choice, few.facts.seed, few.digest) == ("drawn", 1, images().digest)


def test_what_is_drawn_is_no_beginning() -> None:
    """Of images sorted by class, a drawn tenth holds every class."""
    classes = np.arange(500) // 50
    drawn = choose(ImageSet.of(jobs.pictures(500)), 100, seed=0).indices
    assert set(classes[drawn]) == set(range(10))


def test_the_first_are_what_a_slice_takes() -> None:
    first, sliced = choose(images(), 8, first=True), images()[:8]
    assert first.facts == sliced.facts
    assert first.facts.choice == "first"
    np.testing.assert_array_equal(sliced.read([0, 7]), images().source.read([0, 7]))
    assert choose(sliced).facts == first.facts


def test_the_callers_own_selection_is_known_by_its_indices() -> None:
    some, other = images()[[3, 5, 8]], images()[[3, 5, 9]]
    assert some.facts.choice == "chosen"
    assert len({some.digest, other.digest, images().digest}) == 3
    np.testing.assert_array_equal(some.read([1]), images().source.read([5]))
    assert choose(images()[[3, 5, 8, 9]], 2, seed=0).facts.choice == "chosen"


def test_whole_batches_of_the_original() -> None:
    result = choose(images(), drop_remainder=8)
    assert (len(result), result.facts.choice) == (48, "first")
    assert choose(images(), 20, drop_remainder=8).indices.tolist() == (
        choose(images(), 16).indices.tolist()
    )
    with pytest.raises(FixableError, match="not one whole batch"):
        choose(images(), 7, drop_remainder=8)


def test_what_is_not_there_cannot_be_chosen() -> None:
    for wish in (51, -1, 10**12):
        with pytest.raises(FixableError, match=r"n=.*has 50 images"):
            choose(images(), wish)
    for places in (slice(9, 9), "x", [99], 1.5):
        with pytest.raises(FixableError, match=r"images\[:100\]"):
            images()[places]
