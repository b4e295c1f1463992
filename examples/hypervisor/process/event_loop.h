// EventLoop: the daemon's own poll() loop, with the engine's descriptor as one among others.
//
// Descriptors are watched with callbacks, which run outside coroutines and may call into the
// engine as far as that does not suspend. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_EVENT_LOOP_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_EVENT_LOOP_H_

#include <poll.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "millrace/engine/engine.h"

namespace millrace {

class EventLoop {
 public:
  // The engine must outlive the loop.
  explicit EventLoop(Engine& engine) : engine_(engine) {}
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // A descriptor that is watched for as long as this lives; it is not owned.
  class Watch {
   public:
    // `revents` as poll() gives them. The callback may destroy this and any other watch.
    using Callback = std::function<void(short revents)>;
    Watch(EventLoop& loop, int fd, Callback callback);
    ~Watch();
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    // POLLIN and POLLOUT; with 0 it is not watched at all, not even for POLLHUP.
    void SetEvents(short events) { events_ = events; }

   private:
    friend class EventLoop;
    EventLoop& loop_;
    const uint64_t id_;
    const int fd_;
    const Callback callback_;
    short events_ = 0;
  };

  Engine& engine() const { return engine_; }

  // Called in every turn, after the engine and before waiting, in order of adding.
  void BeforeWait(std::function<void()> hook) { hooks_.push_back(std::move(hook)); }

  // Turns until `done()`, which is asked after each turn of the engine.
  void RunUntil(absl::FunctionRef<bool()> done);
  // The same for at most `milliseconds` of wall-clock time.
  void RunUntil(absl::FunctionRef<bool()> done, int milliseconds);
  // One turn, with what can be done without waiting.
  void Turn();

 private:
  void RunUntilDeadline(absl::FunctionRef<bool()> done, std::optional<Nanoseconds> deadline);
  void RunHooks();
  void Wait(bool engine_has_more, std::optional<Nanoseconds> deadline);
  int TimeoutMs(bool engine_has_more, std::optional<Nanoseconds> deadline) const;

  Engine& engine_;
  std::map<uint64_t, Watch*> watches_;
  std::vector<std::function<void()>> hooks_;
  std::vector<pollfd> polled_;
  std::vector<uint64_t> polled_ids_;
  uint64_t next_id_ = 1;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_EVENT_LOOP_H_
