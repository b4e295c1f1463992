// The version of the library, SemVer: before 1.0 a new minor version may break the interface.
#ifndef MILLRACE_ENGINE_VERSION_H_
#define MILLRACE_ENGINE_VERSION_H_

#if defined(__cplusplus) && __cplusplus < 202002L
#error "Millrace is a C++20 library: compile with -std=c++20 or later"
#endif

#define MILLRACE_VERSION_MAJOR 0
#define MILLRACE_VERSION_MINOR 1
#define MILLRACE_VERSION_PATCH 0
#define MILLRACE_VERSION_STRING "0.1.0"

#endif  // MILLRACE_ENGINE_VERSION_H_
