// MILLRACE_CHECK: the assertion for our own bugs. Always on, in release builds too.
//
// A check says that the library broke one of its own invariants; it names the invariant by number
// where the design numbers it ("G6: ..."). Input (images, requests, clients) never reaches a check:
// input gets an absl::Status. A failed check writes one line to stderr and aborts.
#ifndef MILLRACE_ENGINE_BASE_CHECK_H_
#define MILLRACE_ENGINE_BASE_CHECK_H_

#include <string_view>

namespace millrace::internal {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition,
                              std::string_view message);

// Inside a handler: ends the program with a line that says whose function let the exception out,
// what it says of itself, and what to do. Where nobody below could catch it, or what was held on
// the way there would only be dropped half-way.
[[noreturn]] void ExceptionEscaped(std::string_view whose, std::string_view what_to_do);

}  // namespace millrace::internal

// `message` is evaluated only on failure; it may be any expression convertible to string_view.
#define MILLRACE_CHECK(condition, message)                                          \
  do {                                                                              \
    if (__builtin_expect(!(condition), 0))                                          \
      ::millrace::internal::CheckFailed(__FILE__, __LINE__, #condition, (message)); \
  } while (false)

#endif  // MILLRACE_ENGINE_BASE_CHECK_H_
