// HeldDrive: makes the I/O of a drive stand still, as iotest 030 does by break points in the
// drive's file: whatever is read from the layers below the top waits until it is released.
//
//   HeldDrive drive(story);
//   MILLRACE_RETURN_IF_ERROR(drive.CoHold());
//   ... a job is started ...
//   drive.CoWaitUntilHeld();                  // it has a request in flight, which stands still
//   drive.Release();
//
// A memory overlay has no file of its own, so what holds is a filter under the top. A stream from
// there takes it along with the other layers. To be released before the story ends.
#ifndef MILLRACE_TESTS_SCENARIOS_IOTEST_030_HELD_DRIVE_H_
#define MILLRACE_TESTS_SCENARIOS_IOTEST_030_HELD_DRIVE_H_

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "millrace/engine/base/capabilities.h"
#include "tests/support/chain_story.h"

namespace millrace {

class HeldDrive {
 public:
  struct State;  // shared with the filter

  // A filter on the layer; its job is called "hold".
  HeldDrive(ChainStory& story, size_t layer);
  ~HeldDrive();
  HeldDrive(const HeldDrive&) = delete;
  HeldDrive& operator=(const HeldDrive&) = delete;

  absl::Status CoHold() MILLRACE_MAY_SUSPEND;
  // Until somebody has been stopped.
  void CoWaitUntilHeld() MILLRACE_MAY_SUSPEND;
  // For good.
  void Release();

 private:
  ChainStory& story_;
  const size_t layer_;
  const std::shared_ptr<State> state_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SCENARIOS_IOTEST_030_HELD_DRIVE_H_
