#!/usr/bin/env bash
# Runs clang-tidy with .clang-tidy's list over library, examples and benchmarks, or over given files:
#
#   tests/tidy/clang_tidy.sh [BUILD_FOLDER [FILE...]]     a tree made with clang: build/asan-ubsan
#
# Benchmarks want -DMILLRACE_BUILD_BENCH=ON there. Tests are left out: their code runs once, so
# performance-* is nothing to them, and reading them takes as long as all the rest.
#
# The last line counts the files with and without complaints.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=${1:-build/asan-ubsan}
shift || true
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(find engine graph jobs examples bench -name '*.cc' | sort)
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# One line per file with complaints; what clang-tidy says about suppressed warnings is dropped.
check() {
  if ! clang-tidy -p "$1" --quiet "$3" >"$2/out.$$" 2>/dev/null; then
    cat "$2/out.$$"
    echo "$3" >>"$2/failed"
  fi
}
export -f check
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c 'check "$@"' _ "$build" "$folder" {}
failed=$(cat "$folder/failed" 2>/dev/null | wc -l)
echo "$((${#files[@]} - failed)) passed, $failed failed"
[ "$failed" = 0 ]
