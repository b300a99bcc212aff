"""Train the embedded default: synthetic and real slices, the loop, checkpoints and the shipped file."""
