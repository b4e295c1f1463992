#include "examples/hypervisor/process/event_loop.h"

#include <poll.h>

#include <algorithm>
#include <utility>

namespace millrace {

EventLoop::Watch::Watch(EventLoop& loop, int fd, Callback callback)
    : loop_(loop), id_(loop.next_id_++), fd_(fd), callback_(std::move(callback)) {
  loop_.watches_.emplace(id_, this);
}

EventLoop::Watch::~Watch() { loop_.watches_.erase(id_); }

void EventLoop::RunUntil(absl::FunctionRef<bool()> done) { RunUntilDeadline(done, std::nullopt); }

void EventLoop::RunUntil(absl::FunctionRef<bool()> done, int milliseconds) {
  constexpr Nanoseconds kNanosecondsPerMillisecond = 1'000'000;
  RunUntilDeadline(done, engine_.clock().Now() + milliseconds * kNanosecondsPerMillisecond);
}

void EventLoop::Turn() {
  engine_.PollOnce();
  RunHooks();
  Wait(/*engine_has_more=*/true, std::nullopt);
}

void EventLoop::RunUntilDeadline(absl::FunctionRef<bool()> done,
                                 std::optional<Nanoseconds> deadline) {
  for (;;) {
    const bool engine_has_more = engine_.PollOnce();
    RunHooks();
    if (done()) return;
    if (deadline.has_value() && engine_.clock().Now() >= *deadline) return;
    // A hook may have woken somebody, or handed in work.
    Wait(engine_has_more || engine_.HasWork(), deadline);
  }
}

void EventLoop::RunHooks() {
  const Engine::BeforeNextLook before_next_look(engine_);
  for (const auto& hook : hooks_) hook();
}

int EventLoop::TimeoutMs(bool engine_has_more, std::optional<Nanoseconds> deadline) const {
  if (engine_has_more) return 0;
  Nanoseconds until = engine_.NextDeadline();
  if (deadline.has_value()) until = std::min(until, *deadline);
  return MillisecondsUntil(until, engine_.clock().Now());
}

void EventLoop::Wait(bool engine_has_more, std::optional<Nanoseconds> deadline) {
  polled_.clear();
  polled_ids_.clear();
  polled_.push_back({engine_.PollFd(), POLLIN, 0});
  polled_ids_.push_back(0);
  for (const auto& entry : watches_) {
    if (entry.second->events_ == 0) continue;
    polled_.push_back({entry.second->fd_, entry.second->events_, 0});
    polled_ids_.push_back(entry.first);
  }
  if (poll(polled_.data(), polled_.size(), TimeoutMs(engine_has_more, deadline)) <= 0) return;
  const Engine::BeforeNextLook before_next_look(engine_);
  for (size_t i = 1; i < polled_.size(); ++i) {
    if (polled_[i].revents == 0) continue;
    // A callback before this one may have removed the watch.
    const auto watch = watches_.find(polled_ids_[i]);
    if (watch == watches_.end()) continue;
    // The callback may destroy its watch, and itself with it.
    const Watch::Callback callback = watch->second->callback_;
    callback(polled_[i].revents);
  }
}

}  // namespace millrace
