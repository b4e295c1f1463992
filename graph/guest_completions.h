// GuestCompletions: brings completed requests to a device's own thread, with a descriptor that says
// when to look. For devices that may not be touched on the engine's home thread.
//
//   MILLRACE_ASSIGN_OR_RETURN(auto completions, GuestCompletions::Create());
//   request.completion = &GuestCompletions::Deliver;
//   request.context = completions.get();
//   ...                                              // the device's thread polls PollFd(), then:
//   completions->TakeAll([&](GuestRequest& done) { ReturnToGuest(done); });
//
// Any number of requests and ports may share one. A burst of completions costs one system call on
// the home thread and one on the device's. Nothing is allocated per request. It must outlive the
// requests that name it, and Attachment::CoDetach() of their attachments.
#ifndef MILLRACE_GRAPH_GUEST_COMPLETIONS_H_
#define MILLRACE_GRAPH_GUEST_COMPLETIONS_H_

#include <cstddef>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "millrace/graph/guest_request.h"

namespace millrace {

class GuestCompletions {
 public:
  // Unavailable if the host has no descriptor left.
  static absl::StatusOr<std::unique_ptr<GuestCompletions>> Create();
  // Nothing may wait in it (checked).
  ~GuestCompletions();
  GuestCompletions(const GuestCompletions&) = delete;
  GuestCompletions& operator=(const GuestCompletions&) = delete;

  // A GuestRequest::Completion, for requests whose `context` is a GuestCompletions.
  static void Deliver(GuestRequest& request);

  // Readable while completions wait. Level-triggered.
  int PollFd() const;
  // The device's thread, one at a time. Calls `handle` with what is complete, in the order of
  // completion; it may submit the request again or give it back. Returns how many.
  size_t TakeAll(absl::FunctionRef<void(GuestRequest&)> handle);

 private:
  struct State;
  explicit GuestCompletions(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_GUEST_COMPLETIONS_H_
