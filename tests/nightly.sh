#!/usr/bin/env bash
# Runs the long campaigns in slices and appends what was done to tests/campaign/ledger.jsonl:
#
#   tests/nightly.sh --minutes N [--slice SECONDS] [--only NAME,...]
#
# Seeds go on where the ledger ends, and each slice goes to the campaign that has run least. The
# exit status is 0 only without findings. tests/campaign/summary.py sums the ledger.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

tests/setup.sh tests
cmake --preset release >/dev/null
cmake --build --preset release --target campaigns example_hypervisor
if compgen -G 'tests/fuzz/*_fuzz.cc' >/dev/null; then
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz
fi
status=0
python3 -B tests/campaign/nightly.py "$@" build/release/campaigns build/fuzz/fuzzers || status=$?
python3 -B tests/campaign/summary.py
# A Linux guest on an NBD export while jobs run below it; 77: something that it needs is missing.
guest=0
python3 -B tests/guest/run.py --daemon build/release/examples/hypervisor/millraced --minutes 3 || guest=$?
[ "$guest" = 0 ] || [ "$guest" = 77 ] || status=$guest
exit $status
