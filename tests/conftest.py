import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Networks here are too small to share, and two busy threads on busy cores wait forever."""
    torch.set_num_threads(1)
