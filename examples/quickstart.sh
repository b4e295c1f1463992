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
if [ ! -d examples/quickstart ]; then
  cmake --build --preset release --target example_embed
  copy=$(mktemp)
  build/release/examples/embed/embed README.md "$copy"
  cmp README.md "$copy" && echo "embed copied README.md through the engine, byte for byte"
  rm -f "$copy"
  exit
fi
cmake --build --preset release --target example_quickstart
exec build/release/examples/quickstart/quickstart "$@"
