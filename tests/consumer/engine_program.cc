// A program outside the tree that uses the engine alone.
#include <cstdio>
#include <memory>

#include "millrace/engine/engine.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/engine/version.h"

int main() {
  absl::StatusOr<std::unique_ptr<millrace::Engine>> engine = millrace::Engine::Create({});
  if (!engine.ok()) return 1;
  const absl::Status status = (*engine)->Run(
      [&]() MILLRACE_MAY_SUSPEND { return millrace::CoSleepFor(millrace::kMillisecond); });
  std::puts(MILLRACE_VERSION_STRING);
  return status.ok() ? 0 : 1;
}
