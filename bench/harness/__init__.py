"""What bench/compare_qemu, bench/compare and bench/concurrency share. Standard library only."""
