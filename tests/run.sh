#!/usr/bin/env bash
# Installs what is missing, builds one tree and runs its tests:
#
#   tests/run.sh [preset]      dev, release (the default), asan-ubsan or tsan
#
# The tree is build/<preset>. The last line says "N passed, N failed"; the exit status is 0 only if
# everything was built and nothing failed, and 2 for a preset that there is not. A failing test's
# output, and the command that repeats it, stand above. MILLRACE_TEST_SEEDS=N sets how many seeds
# the randomised tests run.
set -uo pipefail
cd "$(dirname "$0")/.."
preset=${1:-release}
case "$preset" in
  dev | release | asan-ubsan | tsan) ;;
  *)
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    [ "$preset" = -h ] || [ "$preset" = --help ] && exit 0
    exit 2
    ;;
esac
build=build/$preset
results=$build/tests.xml
start=$SECONDS

# Ends the run when a step before the tests failed.
give_up() {
  echo "$preset: $1"
  echo "0 passed, 1 failed"
  exit 1
}

tests/setup.sh tests || give_up "packages are missing"
cmake --preset "$preset" || give_up "cannot configure"
cmake --build --preset "$preset" || give_up "does not build"
echo "$preset: built after $((SECONDS - start)) s"

rm -rf "$results" "$build/gtest"
# Some tests wait for a process of theirs: one more than there are processors.
ctest --preset "$preset" --parallel "$(($(nproc) + 1))" --output-junit tests.xml
status=$?

# The counts stand in the first element: <testsuite name=… tests="9" failures="0" …>.
attribute() { grep -m1 -oP "^\s+$1=\"\K[0-9]+" "$results" 2>/dev/null || echo 0; }
ran=$(attribute tests)
# "Skipped" are there also tests that could not be run: their program, or a fixture, is missing.
not_run=$(grep -cP '^\s*<skipped message="(?!SKIP_)' "$results" 2>/dev/null)
failed=$(($(attribute failures) + ${not_run:-0}))
skipped=$(($(attribute skipped) + $(attribute disabled) - ${not_run:-0}))
[ "$ran" -gt 0 ] || give_up "no tests ran"
[ "$status" = 0 ] || [ "$failed" -gt 0 ] || failed=1
# One of ctest's tests is many of GoogleTest's (MILLRACE_GROUP_TESTS), which left word of themselves; those of a process that died did not, and are one failure.
for shard in "$build"/gtest/*.xml; do
  [ -e "$shard" ] || continue
  of_shard() { grep -m1 -oP "^<testsuites .*\b$1=\"\K[0-9]+" "$shard" || echo 0; }
  broken=$(of_shard failures)
  ran=$((ran - 1 + $(of_shard tests)))
  skipped=$((skipped + $(of_shard disabled) + $(grep -c 'result="skipped"' "$shard")))
  [ "$broken" = 0 ] || failed=$((failed - 1 + broken))
done
echo "$preset: built and tested in $((SECONDS - start)) s, $skipped tests skipped"
[ "$failed" = 0 ] || echo "repeat one: ctest --test-dir $build --output-on-failure -R '^NAME\$'"
echo "$((ran - failed - skipped)) passed, $failed failed"
[ "$failed" = 0 ]
