"""What `gptoss selftest` runs: checks of this machine's device, and what speed it should have."""
