# All from Debian 12 packages; tests/setup.sh installs them.
find_package(absl REQUIRED)
find_package(Boost 1.81 REQUIRED COMPONENTS context)
find_package(Threads REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(liburing REQUIRED IMPORTED_TARGET liburing)
pkg_check_modules(libzstd REQUIRED IMPORTED_TARGET libzstd)
