#include "tests/support/seeds.h"

#include <cstdlib>
#include <string>

#include "millrace/engine/coroutine/sanitizer.h"

namespace millrace {

uint64_t SeedCount() {
  if (const char* wanted = std::getenv("MILLRACE_TEST_SEEDS")) {
    uint64_t count = std::strtoull(wanted, nullptr, 10);
    if (count > 0) return count;
  }
  return MILLRACE_ASAN || MILLRACE_TSAN ? 20 : 1000;
}

uint64_t CaseStride() { return SeedCount() < 1000 ? 23 : 1; }

}  // namespace millrace
