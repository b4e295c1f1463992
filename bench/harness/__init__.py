"""What bench/compare_qemu, bench/compare, bench/concurrency and bench/scale share. Standard library only."""
