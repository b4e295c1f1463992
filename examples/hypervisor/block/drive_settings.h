// What a --drive says about the drive itself, apart from its nodes. Plain data; any thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVE_SETTINGS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVE_SETTINGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/qmp/json.h"
#include "millrace/graph/filters/throttle_limits.h"

namespace millrace {

struct DriveSettings {
  std::string id;
  std::string interface = "ide";
  // Where it sits, as far as that was said; an index counts units over all buses.
  std::optional<int> bus;
  std::optional<int> unit;
  std::optional<int> index;
  bool is_cdrom = false;
  bool copies_on_read = false;
  bool writes_through = false;
  // Writes go to a file of their own, which is thrown away at the end.
  bool is_snapshot = false;
  bool accounts_invalid = true;
  bool accounts_failed = true;
  std::vector<uint32_t> stats_intervals;  // seconds
  ThrottleLimits limits;
  std::string throttle_group;
};

// Takes the drive's own settings out of `options` and leaves those of the nodes, "cache.x" as
// `cache_mode` has them where they are not given. Errors are QEMU's.
absl::StatusOr<DriveSettings> TakeDriveSettings(json::object& options,
                                                const std::optional<std::string>& cache_mode);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVE_SETTINGS_H_
