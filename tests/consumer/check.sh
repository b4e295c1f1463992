#!/usr/bin/env bash
# Builds and runs a project that uses Millrace from outside:
#
#   check.sh find_package|subdirectory|subdirectory_whole|pkg_config|sanitized WORK_FOLDER \
#     INSTALL_PREFIX CXX
#
# subdirectory compiles the engine once more, subdirectory_whole, which the nightly run calls, the
# whole library, and each source alone.
set -euo pipefail
program=program unity=OFF
kind=$1 work=$2 prefix=$3 compiler=$4
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
rm -rf "${work:?}/$kind"
mkdir -p "$work/$kind"
cd "$work/$kind"

[ "$kind" != subdirectory ] || program=engine_program unity=ON
case "$kind" in
  find_package)
    cmake -S "$here/find_package" -B . -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
      -DCMAKE_PREFIX_PATH="$prefix"
    cmake --build .
    told=$(cat version)
    ;;
  subdirectory | subdirectory_whole)
    # The one without a build type: quick to build, and it has no flags that could hide a change.
    cmake -S "$here/subdirectory" -B . -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
      -DMILLRACE_SOURCE_FOLDER="$root" -DMILLRACE_UNITY_BUILD="$unity"
    cmake --build . --target "$program"
    ;;
  pkg_config)
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    # shellcheck disable=SC2046
    "$compiler" -std=c++20 -Wall -Wextra -Werror $(pkg-config --cflags millrace) "$here/program.cc" \
      $(pkg-config --libs millrace) -o program
    told=$(pkg-config --modversion millrace)
    [[ $(pkg-config --libs millrace) != *explore* ]]
    # shellcheck disable=SC2046
    "$compiler" -std=c++20 $(pkg-config --cflags millrace-explore) "$here/explore_program.cc" \
      $(pkg-config --libs millrace-explore) -o explore_program
    ./explore_program
    ;;
  sanitized)
    # Classes of ours would be of another size in it than in the library: it does not link, and the
    # linker says why.
    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    # shellcheck disable=SC2046
    if "$compiler" -std=c++20 -fsanitize=address $(pkg-config --cflags millrace) "$here/program.cc" \
      $(pkg-config --libs millrace) -o program 2>errors; then
      echo "a program with AddressSanitizer is linked with a library without it" >&2
      exit 1
    fi
    grep -q "the_library_is_built_with_address_sanitizer" errors
    exit 0
    ;;
esac
version=$(./"$program")
[ "${told:-$version}" = "$version" ]
grep -q "define MILLRACE_VERSION_STRING \"$version\"" "$root/engine/version.h"
