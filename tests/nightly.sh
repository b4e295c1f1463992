#!/usr/bin/env bash
# Runs the long campaigns in slices and appends what was done to tests/campaign/ledger.jsonl:
#
#   tests/nightly.sh --minutes N [--slice SECONDS] [--only NAME,...]
#   tests/nightly.sh --iterations N --only NAME     (soak: N iterations over one daemon)
#
# Seeds go on where the ledger ends, and each slice goes to the campaign that has run least. The
# exit status is 0 only without findings. One of them proves more delays than every build does. The
# quickstart is run a few times, small and in full size, and must be as quick as it is said to be.
# Then clang-tidy reads the sources (build/nightly/clang_tidy.txt), and tests/campaign/report.py says
# what all of it has shown (build/nightly/report.html); it fails if a site of the library was never
# met. At last QEMU is asked: tests/hypervisor's cases and scripts on both
# (build/nightly/conformance.txt, differential.txt), and a Linux guest; and a browser shows pages that
# replay findings. What is missing for one of these is told, and is no failure.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }

tests/setup.sh nightly
cmake --preset release >/dev/null
cmake --build --preset release --target campaigns example_cli example_hypervisor \
  example_quickstart example_race_gallery scenario_proofs explore_test
if compgen -G 'tests/fuzz/*_fuzz.cc' >/dev/null; then
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz
fi
status=0
python3 -B tests/campaign/nightly.py "$@" build/release/campaigns build/fuzz/fuzzers \
  build/release/examples/cli/millrace || status=$?
mkdir -p build/nightly
# What is promised of the quickstart: every byte verified, within 5 s small and a minute in full.
for size in --small ''; do
  python3 -B tests/campaign/quickstart_runs.py --times 3 --ledger $size \
    --program build/release/examples/quickstart/quickstart || status=$?
done
# What clang-tidy says of the sources; it needs no build, but a tree without precompiled headers.
cmake --preset asan-ubsan -B build/tidy -DMILLRACE_PRECOMPILED_HEADERS=OFF -DMILLRACE_UNITY_BUILD=OFF \
  -DMILLRACE_BUILD_BENCH=ON >/dev/null
tests/tidy/clang_tidy.sh build/tidy >build/nightly/clang_tidy.txt || status=$?
# Everything with clang and its thread-safety analysis: the trees with sanitizers leave out the
# benchmarks, the campaigns and the proofs.
cmake --preset dev -B build/clang -DCMAKE_CXX_COMPILER=clang++ -DMILLRACE_UNITY_BUILD=ON >/dev/null
cmake --build build/clang >build/nightly/clang.txt || status=$?
# All of the library as a subproject; the tests of every build compile the engine only.
tests/consumer/check.sh subdirectory_whole "$PWD/build/nightly/consumer" - g++ \
  >build/nightly/subdirectory.txt || status=$?
# Every header that is installed, alone.
cmake --install build/release --prefix build/nightly/prefix >/dev/null
python3 -B tests/consumer/installed_headers.py build/nightly/prefix g++ "$PWD" --alone \
  >build/nightly/headers.txt || status=$?
build/release/tests/scenario_proofs >build/nightly/proofs.txt || status=$?
build/release/examples/race_gallery/race_gallery run --all --goals \
  >build/nightly/gallery.txt || status=$?
# Its scenes under ASan and UBSan, with the engine as it is.
cmake --preset asan-ubsan >/dev/null
cmake --build --preset asan-ubsan --target example_race_gallery
build/asan-ubsan/examples/race_gallery/race_gallery run --all --script --fixed \
  >build/nightly/gallery_asan.txt || status=$?
python3 -B tests/campaign/report.py --proofs build/nightly/proofs.txt \
  --gallery build/nightly/gallery.txt --json build/nightly/report.json \
  --html build/nightly/report.html || status=$?
# What needs QEMU. 77: something that it needs is missing.
or_skip() {
  local code=0
  "$@" || code=$?
  if [ "$code" = 77 ]; then
    echo "skipped, something that it needs is missing: $*" >&2
  elif [ "$code" != 0 ]; then
    status=$code
  fi
}
export MILLRACED=$PWD/build/release/examples/hypervisor/millraced
# The conformance cases on both, and scripts whose every reply is compared.
or_skip python3 -B tests/hypervisor/run.py --backend both >build/nightly/conformance.txt
or_skip python3 -B tests/hypervisor/run.py --backend millraced --folder introspect \
  >build/nightly/introspect.txt
or_skip python3 -B tests/hypervisor/differential.py >build/nightly/differential.txt
# What a job's start costs in instructions, among few and among many.
HYPERVISOR_BACKEND=millraced or_skip python3 -B tests/hypervisor/cost/start_cost_test.py
# Pages that replay findings, in a browser (build/nightly/replay_page.txt).
or_skip python3 -B tests/explore/replay_page_test.py build/release/tests/explore_test \
  >build/nightly/replay_page.txt
# A Linux guest on an NBD export while jobs run below it.
or_skip python3 -B tests/guest/run.py --daemon "$MILLRACED" --minutes 3
exit $status
