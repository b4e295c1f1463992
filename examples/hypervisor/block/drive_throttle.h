// DriveThrottle: the I/O limits of a drive itself (-drive throttling.*, block_set_io_throttle),
// before its requests enter the graph. Drives may share a group; a group that only drives use lives
// as long as one of them.
//
// Home thread. What waits here is not in flight, so no drain waits for it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVE_THROTTLE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVE_THROTTLE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/graph/filters/throttle_group.h"

namespace millrace {

class BlockLayer;
struct Drive;

class DriveThrottle {
 public:
  DriveThrottle(std::shared_ptr<ThrottleGroup> group, const std::string& drive)
      : group_(std::move(group)), member_(*group_, drive) {}

  void CoPass(ThrottleDirection direction, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    member_.CoPass(direction, bytes);
  }
  // Until HoldBackAgain() nothing is held back; calls nest.
  void LetAllPass() { member_.BeginDrain(); }
  void HoldBackAgain() { member_.EndDrain(); }
  // For the end: what waits goes on, here and on other drives of the group.
  void LiftLimits() { group_->SetLimits({}).IgnoreError(); }
  size_t waiting() const { return member_.waiting(); }
  const std::shared_ptr<ThrottleGroup>& group() const { return group_; }

  // Sets the limits' members of a BlockDeviceInfo.
  void Describe(json::object* inserted) const;

 private:
  const std::shared_ptr<ThrottleGroup> group_;
  ThrottleGroup::Member member_;
};

// Puts the drive into the group of that name, with these limits; without any limit, takes it out of
// its group.
absl::Status SetDriveThrottle(BlockLayer& layer, Drive& drive, const std::string& group,
                              const ThrottleLimits& limits);

void RegisterDriveThrottle(BlockLayer& layer);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVE_THROTTLE_H_
