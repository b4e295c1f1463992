#!/usr/bin/env bash
# The exploration of the example's job proves it up to two delays, finds the bug
# planted in its twin, and the schedule it prints repeats the bug.
set -euo pipefail
sound=$1 planted=$2 random=${3:-100000}
"$sound" "--random=$random" | grep -q "delay bound 2 complete"
status=0
found=$("$planted") || status=$?
[ "$status" = 1 ]
grep -q "bytes read" <<<"$found"
grep -q "^TEST(Scrub, " <<<"$found"
grep -qF "replay: $planted --scenario='two scrubs' " <<<"$found"  # this binary, as it was called
schedule=$(sed -n 's/^replay: .*--schedule=\([^ ]*\) .*/\1/p' <<<"$found")
[ -n "$schedule" ]
[ "$schedule" != - ]
"$planted" --schedule=- | grep -q "it goes well"  # in production's order
status=0
again=$("$planted" "--scenario=two scrubs" "--schedule=$schedule") || status=$?
[ "$status" = 1 ]
grep -q "bytes read" <<<"$again"
# The sound one goes well under the same schedule.
"$sound" "--schedule=$schedule" | grep -q "it goes well"
"$sound" --help | grep -q "^usage: "
status=0
"$sound" --no-such-option 2>/dev/null || status=$?
[ "$status" = 2 ]
status=0
"$sound" --random=many 2>/dev/null || status=$?
[ "$status" = 2 ]
