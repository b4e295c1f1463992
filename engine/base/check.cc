#include "millrace/engine/base/check.h"

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace millrace::internal {

void CheckFailed(const char* file, int line, const char* condition, std::string_view message) {
  std::fprintf(stderr, "%s:%d: check failed: %s: %.*s\n", file, line, condition,
               static_cast<int>(message.size()), message.data());
  if (std::uncaught_exceptions() > 0) {
    std::fprintf(stderr,
                 "an exception is leaving the functions that stood on this stack, and what they "
                 "held was dropped half-way: that is why; catch it where it is thrown\n");
  }
  std::fflush(stderr);
  std::abort();
}

}  // namespace millrace::internal
