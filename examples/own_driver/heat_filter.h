// HeatFilter: a filter of one's own. It counts what passes through it, per part of the disk, and
// hands everything on.
#ifndef MILLRACE_EXAMPLES_OWN_DRIVER_HEAT_FILTER_H_
#define MILLRACE_EXAMPLES_OWN_DRIVER_HEAT_FILTER_H_

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/graph/driver.h"
#include "millrace/graph/driver_registry.h"

namespace millrace::example {

// Bytes per part of the disk. Shared with the filter, so that it outlives the filter's node.
struct Heat {
  explicit Heat(uint64_t bytes_per_part) : part_bytes(bytes_per_part) {}

  const uint64_t part_bytes;
  std::vector<uint64_t> read;
  std::vector<uint64_t> written;
};

class HeatFilter final : public FilterDriver {
 public:
  explicit HeatFilter(std::shared_ptr<Heat> heat) : heat_(std::move(heat)) {}

  std::string_view driver_name() const override { return "heat"; }
  // What is not overridden here goes to the filtered child as it is. Each call holds a request on
  // this filter's node, so the child cannot change meanwhile.
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;

 private:
  void Count(std::vector<uint64_t>& parts, uint64_t offset, uint64_t bytes);

  const std::shared_ptr<Heat> heat_;
};

// Registers it as "heat", with one option: "part-size", in bytes (1M). What each filter counts is
// appended to `heats`, which outlives the registry.
absl::Status RegisterHeatFilter(DriverRegistry& registry,
                                std::vector<std::shared_ptr<Heat>>& heats);

}  // namespace millrace::example

#endif  // MILLRACE_EXAMPLES_OWN_DRIVER_HEAT_FILTER_H_
