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

void ExceptionEscaped(std::string_view whose, std::string_view what_to_do) {
  const char* what = "what was thrown is no std::exception";
  // The text lives as long as the exception, which is the caller's while he handles it.
  try {
    throw;
  } catch (const std::exception& exception) {
    what = exception.what();
  } catch (...) {
  }
  std::fprintf(stderr, "%.*s let an exception out: %s; %.*s\n", static_cast<int>(whose.size()),
               whose.data(), what, static_cast<int>(what_to_do.size()), what_to_do.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace millrace::internal
