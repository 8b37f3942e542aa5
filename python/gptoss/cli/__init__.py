"""The command line: `gptoss generate`, `gptoss inspect`, `gptoss convert`."""
