#include "millrace/graph/open/child_roles.h"

#include <optional>
#include <string>
#include <string_view>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/open/tree_names.h"

namespace millrace {

namespace {

// Whether it needs exactly one child to stand on.
bool StandsOnOne(const Driver* driver) {
  if (driver == nullptr) return true;
  if (driver->kind() == NodeKind::kFormat) {
    return static_cast<const FormatDriver*>(driver)->has_primary();
  }
  if (driver->kind() != NodeKind::kFilter) return false;
  const auto* filter = static_cast<const FilterDriver*>(driver);
  return driver->RoleOfChild(filter->filtered_edge_name()) == Role::kFiltered;
}

// The child that it lacks; or anything, where nobody has said what it is.
std::string_view WantedBy(const Driver* driver) {
  if (driver == nullptr) return "driver or file";
  if (driver->kind() != NodeKind::kFilter) return "file";
  return static_cast<const FilterDriver*>(driver)->filtered_edge_name();
}

}  // namespace

absl::Status NoSuchChild(const NodeTree& tree, const ChildTree& child, const Driver* driver) {
  const std::string what_to_do = driver != nullptr && StandsOnOne(driver)
                                     ? StrCat("what it stands on is '", WantedBy(driver), "'")
                                     : "leave it out";
  return absl::InvalidArgumentError(StrCat(DescribeTree(tree), ": the driver has no child '",
                                           PrintableName(child.name), "'; ", what_to_do));
}

absl::StatusOr<Role> RoleOfChild(const NodeTree& tree, const Driver* driver,
                                 const ChildTree& child) {
  if (driver == nullptr) {
    if (child.name == "file") return Role::kPrimary;
  } else if (std::optional<Role> role = driver->RoleOfChild(child.name)) {
    return *role;
  }
  return NoSuchChild(tree, child, driver);
}

namespace {

absl::Status NotOneToStandOn(const NodeTree& tree, const Driver* driver, size_t count) {
  Conflict conflict;
  conflict.reason = ConflictReason::kUnsupportedByDriver;
  conflict.object = tree.node_name;
  conflict.detail = std::string(WantedBy(driver));
  conflict.next_step = StrCat("give one '", conflict.detail, "'");
  return ConflictStatus(absl::StatusCode::kInvalidArgument, conflict,
                        StrCat(DescribeTree(tree), ": it needs a child to stand on, and has ",
                               count, "; ", conflict.next_step));
}

}  // namespace

absl::Status CheckStandsOn(const NodeTree& tree, const Driver* driver, size_t count) {
  if (count == 1 || (count == 0 && !StandsOnOne(driver))) return absl::OkStatus();
  return NotOneToStandOn(tree, driver, count);
}

}  // namespace millrace
