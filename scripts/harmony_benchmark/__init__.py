"""The inputs and the measured work of `benchmark-harmony.py`."""
