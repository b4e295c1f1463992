// QEMU's own tools as oracle: runs qemu-img and qemu-io on files in a folder of the test's own.
//
// Tests that use this belong under tests/interop and skip themselves where the tools are missing.
#ifndef MILLRACE_TESTS_SUPPORT_QEMU_TOOLS_H_
#define MILLRACE_TESTS_SUPPORT_QEMU_TOOLS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tests/support/command.h"
#include "tests/support/temporary_folder.h"

namespace millrace {

void WriteFile(const std::string& path, absl::Span<const uint8_t> content);
std::vector<uint8_t> ReadFile(const std::string& path);

bool HasQemuTools();

// Runs a command (arguments are passed as they are) and returns what it printed on either stream;
// Internal with the command and its output if its exit status is not 0.
absl::StatusOr<std::string> RunTool(const std::vector<std::string>& arguments);
// The same where it may fail: qemu-io does if one of its commands has.
CommandResult RunToolThatMayFail(const std::vector<std::string>& arguments);

// One line of `qemu-img map --output=json`.
struct QemuExtent {
  uint64_t start = 0;
  uint64_t bytes = 0;
  uint64_t depth = 0;
  bool is_present = false;
  bool is_zero = false;
  bool is_data = false;
  bool has_offset = false;
  uint64_t offset = 0;
};
absl::StatusOr<std::vector<QemuExtent>> QemuMap(const std::string& image);
// One line per run of the map: where it begins, and what `describe` says of it. Neighbours of which
// it says the same are one.
std::string QemuMapText(const std::string& image,
                        absl::FunctionRef<std::string(const QemuExtent&)> describe);

// What a guest sees, by `qemu-img convert`; `snapshot` may be empty.
absl::StatusOr<std::vector<uint8_t>> QemuContent(const TemporaryFolder& folder,
                                                 const std::string& image,
                                                 const std::string& snapshot = {});
// OK only if `qemu-img check` finds neither corruptions nor leaks.
absl::Status QemuCheck(const std::string& image);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_QEMU_TOOLS_H_
