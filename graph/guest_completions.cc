#include "millrace/graph/guest_completions.h"

#include <mutex>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/wake_event.h"

namespace millrace {

struct GuestCompletions::State {
  WakeEvent bell;
  std::mutex mutex;
  SubmissionFifo<GuestRequest> done;  // under mutex
};

GuestCompletions::GuestCompletions(std::unique_ptr<State> state) : state_(std::move(state)) {}

absl::StatusOr<std::unique_ptr<GuestCompletions>> GuestCompletions::Create() {
  auto state = std::make_unique<State>();
  MILLRACE_RETURN_IF_ERROR(state->bell.Open());
  return std::unique_ptr<GuestCompletions>(new GuestCompletions(std::move(state)));
}

GuestCompletions::~GuestCompletions() {
  MILLRACE_CHECK(state_->done.empty(), "guest completions destroyed before they were taken");
}

void GuestCompletions::Deliver(GuestRequest& request) {
  State& state = *static_cast<GuestCompletions*>(request.context)->state_;
  {
    const std::lock_guard lock(state.mutex);
    state.done.PushBack(request);
  }
  state.bell.Ring();
}

int GuestCompletions::PollFd() const { return state_->bell.descriptor(); }

size_t GuestCompletions::TakeAll(absl::FunctionRef<void(GuestRequest&)> handle) {
  state_->bell.Clear();
  SubmissionFifo<GuestRequest> done;
  {
    const std::lock_guard lock(state_->mutex);
    std::swap(done, state_->done);
  }
  size_t count = 0;
  for (; GuestRequest* request = done.PopFront(); ++count) handle(*request);
  return count;
}

}  // namespace millrace
