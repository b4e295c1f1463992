// The drivers that a client can name, with their options and children, as QAPI declares them.
//
// Some options have nothing to set here; accepting them keeps what they promise (README.md lists
// each with the reason). Plain data; any thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVER_SCHEMAS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVER_SCHEMAS_H_

#include <cstdint>
#include <string_view>
#include <vector>

namespace millrace {

enum class OptionKind : uint8_t { kText, kNumber, kFlag, kChoice, kRules, kTexts, kOverlapCheck };

struct DriverOption {
  std::string_view name;
  OptionKind kind = OptionKind::kText;
  bool is_required = false;
  // What the driver of the library calls it; empty: nothing is to be set there.
  std::string_view library_name = {};
  // Whether it changes what is read, and so belongs to the node's name (graph/file_name.h).
  bool changes_content = false;
  std::vector<std::string_view> choices = {};  // kChoice
  // blockdev-reopen may change it.
  bool is_changeable = false;
};

enum class ChildNeed : uint8_t { kRequired, kOptional, kList };

struct DriverChild {
  std::string_view name;
  ChildNeed need = ChildNeed::kRequired;
};

struct DriverSchema {
  std::string_view name;
  std::vector<DriverOption> options;
  std::vector<DriverChild> children;
};

// In the order of their names.
const std::vector<DriverSchema>& DriverSchemas();
// Null if there is no such driver.
const DriverSchema* FindDriverSchema(std::string_view driver);
// Whether QEMU 7.2 has a driver of this name, which millraced has not.
bool IsForeignDriver(std::string_view driver);
const DriverOption* FindDriverOption(const DriverSchema& schema, std::string_view name);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_DRIVER_SCHEMAS_H_
