"""Settings of every test process."""

import signal

import hypothesis
import pytest
import torch

# The same examples in every run, and no time limit: a busy machine is no fault.
hypothesis.settings.register_profile(
    "repeatable", derandomize=True, deadline=None, database=None, max_examples=60
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny tensors are fastest on one thread, most of all where other programs run."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def interrupts():
    """In the background of a shell SIGINT is ignored, and so it would be by all that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
