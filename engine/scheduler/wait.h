// The wait-for graph: every suspension says who waits, where, on what, and held by whom.
//
// A coroutine that suspends names a yield point ("mutex.lock", "io.read", "drain.begin") and the
// Waitable it waits on. Deadlock reports, `explain`, traces and exploration labels are all views of
// these records; nothing else keeps a second list.
#ifndef MILLRACE_ENGINE_SCHEDULER_WAIT_H_
#define MILLRACE_ENGINE_SCHEDULER_WAIT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "millrace/engine/scheduler/clock.h"

namespace millrace {

// What a coroutine waits on, in words, for people.
struct WaitDescription {
  std::string object;                // "mutex 'l2 cache of img-3'"
  std::vector<uint64_t> coroutines;  // ids of the coroutines that must all act first, where known
  // "stream0", "drained section of commit0". Empty: reports name `coroutines` as the holders.
  std::vector<std::string> holders;
  bool external = false;  // ended by I/O, a timer or another thread
  bool idle = false;      // a service that waits for work; not a reason to worry
};

// A live coroutine as reports show it.
struct CoroutineWait {
  uint64_t number = 0;
  std::string name;         // "stream0/copy"
  std::string yield_point;  // where it suspended last
  // Engine time since when; of several that suspend in one turn of the loop, when that began.
  Nanoseconds since = 0;
  bool can_run = false;  // it waits for its turn only, and `on` says nothing
  WaitDescription on;    // holders filled in from coroutines
};

class Waitable {
 public:
  virtual void DescribeWait(WaitDescription& description) const = 0;

 protected:
  ~Waitable() = default;
};

}  // namespace millrace

#endif  // MILLRACE_ENGINE_SCHEDULER_WAIT_H_
