#!/usr/bin/env bash
# embed leaves an image that stands alone and shows what it showed; and says why it cannot open one
# that is not there. Needs qemu-img; exits with 77 without it.
set -euo pipefail
embed=$1
command -v qemu-img >/dev/null && command -v qemu-io >/dev/null || exit 77
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
qemu-img create -q -f qcow2 base 8M
qemu-io -c 'write -P 1 1M 1M' -c 'write -P 2 5M 64k' base >/dev/null
qemu-img create -q -f qcow2 -b base -F qcow2 top
qemu-io -c 'write -P 3 1536k 4k' top >/dev/null
qemu-img convert -O raw top before
"$embed" top >told
grep -q "^drive0: completed" told
rm base
qemu-img check -q top
qemu-img compare -q -F raw top before
if "$embed" missing 2>error; then exit 1; fi
grep -q "missing" error
