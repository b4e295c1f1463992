// What the other programs break, done right.
// compiles
#include "millrace/engine/engine.h"
#include "millrace/engine/sync/mutex.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace {

void OpensView() MILLRACE_OPENS_VIEW {}

absl::Status CoWork(Mutex& mutex) MILLRACE_MAY_SUSPEND {
  OpensView();
  MutexLock lock(CoHold(mutex));
  return CoSleepFor(kSecond);
}

absl::Status RunWork(Engine& engine, Mutex& mutex) {
  HostScope host;
  OpensView();
  return engine.Run([&]() MILLRACE_MAY_SUSPEND {
    TaskScope scope("work");
    scope.Spawn("work/one", [&]() MILLRACE_MAY_SUSPEND { return CoWork(mutex); });
    return scope.CoJoin();
  });
}

}  // namespace millrace
