"""What `gptoss bench` runs, and the models with random weights that it may run on."""
