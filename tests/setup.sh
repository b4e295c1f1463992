#!/usr/bin/env bash
# Installs what is missing of the Debian 12 packages that Millrace is built with, by name.
#
#   tests/setup.sh [quickstart|tests|nightly]
#
#   quickstart   compiler, build tools and libraries; QEMU's tools if they can be had
#   tests        everything: clang and its sanitizers, GoogleTest, Google Benchmark, QEMU's tools
#   nightly      and clang-tidy, QEMU itself, which answers beside millraced, what its Linux guest is
#                made of, and a browser for pages that replay findings
#
# Does nothing, quickly, when all is there. Uses sudo unless run as root. Never removes a package:
# where one would have to go (Boost 1.74's dev packages exclude those of 1.81), it names the
# packages and stops.
set -euo pipefail

build_packages=(g++ cmake ninja-build pkg-config libboost-context1.81-dev libboost1.81-dev
                libboost-json1.81-dev libabsl-dev liburing-dev zlib1g-dev libzstd-dev)
# Checks made with QEMU are left out of the quickstart where QEMU's tools are missing.
qemu_packages=(qemu-utils qemu-system-common)
test_packages=(clang lld libclang-rt-14-dev clang-format libgtest-dev
               libgmock-dev libbenchmark-dev python3
               libgnutls28-dev gnutls-bin libnbd-bin fio)
nightly_packages=(clang-tidy qemu-system-x86 busybox-static e2fsprogs chromium)

say() { printf 'setup: %s\n' "$*" >&2; }

# Prints those of its arguments that are not installed.
missing_of() {
  local package there
  there=" $(dpkg-query -W -f='${Package}:${db:Status-Status} ' "$@" 2>/dev/null || true)"
  for package in "$@"; do
    [[ $there == *" $package:installed "* ]] || echo "$package"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  elif command -v sudo >/dev/null; then
    sudo env DEBIAN_FRONTEND=noninteractive "$@"
  else
    say "cannot install packages: not root, and there is no sudo. As root, run:"
    say "  apt-get install --no-remove ${missing[*]}"
    exit 1
  fi
}

# install_packages NAME...: returns 1 after having said why it cannot.
install_packages() {
  local plan removed unknown
  # A simulation first: apt's own refusal under --no-remove does not say what is in the way.
  if ! plan=$(apt-get install --simulate --no-install-recommends "$@" 2>&1); then
    unknown=$(sed -nE 's/^E: (Unable to locate package .*|Package .* has no installation.*)/\1/p' \
              <<<"$plan")
    say "apt-get cannot install: $*"
    say "${unknown:-$plan}"
    return 1
  fi
  removed=$(sed -nE 's/^Remv ([^ ]+).*/\1/p' <<<"$plan" | tr '\n' ' ')
  if [ -n "$removed" ]; then
    say "installing $*"
    say "would remove these installed packages: $removed"
    say "nothing was changed. If they can go, run 'apt-get remove $removed', then this again;"
    say "if not, use a container or another machine with Debian 12."
    return 1
  fi
  as_root apt-get install --yes --no-remove --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@" >&2
}

kind=${1:-tests}
case "$kind" in
  quickstart) required=("${build_packages[@]}") optional=("${qemu_packages[@]}") ;;
  tests) required=("${build_packages[@]}" "${test_packages[@]}" "${qemu_packages[@]}") optional=() ;;
  nightly)
    required=("${build_packages[@]}" "${test_packages[@]}" "${qemu_packages[@]}"
              "${nightly_packages[@]}")
    optional=()
    ;;
  *) say "usage: tests/setup.sh [quickstart|tests|nightly]"; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  say "this is not a Debian system; install the equivalents of these packages yourself:"
  say "  ${required[*]} ${optional[*]}"
  say "and set MILLRACE_SKIP_SETUP=1 to pass by this check."
  [ -n "${MILLRACE_SKIP_SETUP:-}" ] || exit 1
  exit 0
fi
[ -z "${MILLRACE_SKIP_SETUP:-}" ] || exit 0

mapfile -t missing < <(missing_of "${required[@]}" "${optional[@]}")
[ "${#missing[@]}" -gt 0 ] || exit 0
say "missing: ${missing[*]}"
as_root apt-get update -o DPkg::Lock::Timeout=300 >&2 ||
  say "apt-get update failed; trying with the package lists that are there"

mapfile -t missing < <(missing_of "${required[@]}")
if [ "${#missing[@]}" -gt 0 ]; then
  install_packages "${missing[@]}" || exit 1
fi
mapfile -t missing < <(missing_of "${optional[@]}")
if [ "${#missing[@]}" -gt 0 ]; then
  install_packages "${missing[@]}" || say "going on without ${missing[*]}: checks that need them are left out"
fi
