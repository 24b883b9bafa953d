"""One module per command: its options, then what it prints. What several commands need is in the folder above."""
