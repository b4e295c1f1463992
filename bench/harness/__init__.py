"""What the Python benchmarks share. Standard library only."""
