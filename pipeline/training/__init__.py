"""The one training loop, which knows no task: steps, optimizer, data parallelism, curves."""
