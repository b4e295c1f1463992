#!/usr/bin/env bash
# The scrub job reads what a chain stores, no more, and says where something cannot be read. Needs
# qemu-img; exits with 77 without it.
set -euo pipefail
own_job=$1
command -v qemu-img >/dev/null && command -v qemu-io >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
qemu-img create -q -f qcow2 base 8M
qemu-io -c 'write -P 1 1M 1M' base >/dev/null
qemu-img create -q -f qcow2 -b base -F qcow2 top
qemu-io -c 'write -P 3 4M 64k' top >/dev/null
[ "$("$own_job" top)" = "1114112 bytes read" ]
status=0
"$own_job" top fast 2>error || status=$?
[ "$status" = 2 ] && grep -q "usage" error
# The last cluster of the base is gone from the file: what lies before it is still read, and
# where it was is named.
truncate -s -64k base
status=0
"$own_job" top >found || status=$?
[ "$status" = 3 ]
grep -qx "cannot be read: 2031616" found
