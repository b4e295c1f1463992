// The version of the library, SemVer: before 1.0 a new minor version may break the interface.
#ifndef MILLRACE_ENGINE_VERSION_H_
#define MILLRACE_ENGINE_VERSION_H_

#define MILLRACE_VERSION_MAJOR 0
#define MILLRACE_VERSION_MINOR 1
#define MILLRACE_VERSION_PATCH 0
#define MILLRACE_VERSION_STRING "0.1.0"

#endif  // MILLRACE_ENGINE_VERSION_H_
