#!/usr/bin/env bash
# A protocol and a filter that are not the library's are opened by name; both filters see what the
# guest does, in the half where it is at work, and the second one for a while only. A name that the
# driver's own factory does not know is refused.
set -euo pipefail
own_driver=$1
told=$("$own_driver")
[ "$(wc -l <<<"$told")" = 4 ]
for part in 0 1 2 3; do
  numbers=$(sed -nE "s/^MiB $part: ([0-9]+) bytes written, ([0-9]+) below the second filter$/\1 \2/p" \
            <<<"$told")
  read -r all sample <<<"$numbers"
  [ "$all" -gt 0 ]
  [ "$sample" -gt 0 ]
  [ "$sample" -le "$all" ]
done
if refusal=$("$own_driver" nothing 2>&1); then exit 1; fi
grep -q "option 'blob' of driver 'blob' is 'nothing', not the name of a blob" <<<"$refusal"
