import pytest

from ddpm_eval.codec.profile import Profile
from tests.codec import fields


@pytest.fixture(scope="session")
def profile() -> Profile:
    return fields.profile()
