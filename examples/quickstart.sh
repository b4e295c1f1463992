#!/usr/bin/env bash
# Installs what is missing, builds a release, and runs the quickstart:
#
#   examples/quickstart.sh [ARGUMENT...]      arguments go to the program; --help lists them
#
# The build is build/release, the same tree that tests/run.sh uses.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/setup.sh quickstart
cmake --preset release -DMILLRACE_BUILD_TESTS=OFF -DMILLRACE_BUILD_BENCH=OFF >/dev/null
cmake --build --preset release --target example_quickstart
exec build/release/examples/quickstart/quickstart "$@"
