#!/usr/bin/env bash
# Whether every source is formatted as .clang-format says: clang_format.sh [clang-format]
set -euo pipefail
cd "$(dirname "$0")/../.."
find engine graph jobs examples bench tests -name '*.cc' -print0 -o -name '*.h' -print0 |
  xargs -0 "${1:-clang-format}" --dry-run -Werror
