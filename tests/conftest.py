"""Settings of every test process."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny tensors are fastest on one thread, most of all where other programs run."""
    torch.set_num_threads(1)
