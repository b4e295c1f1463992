#include "millrace/graph/permission.h"

#include <iterator>

namespace millrace {

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kRoot:
      return "root";
    case Role::kPrimary:
      return "primary";
    case Role::kBacking:
      return "backing";
    case Role::kFiltered:
      return "filtered";
    case Role::kData:
      return "data";
  }
  return "unknown";
}

std::string PermissionSet::ToString() const {
  static constexpr std::string_view kNames[] = {"consistent read", "write", "write unchanged",
                                                "resize"};
  std::string text;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if ((bits_ & (1u << i)) == 0) continue;
    if (!text.empty()) text += ", ";
    text += kNames[i];
  }
  return text;
}

Permissions DeriveForFilter(const PermissionContext& context) { return context.parents; }

Permissions DeriveForBacking(const PermissionContext& context) {
  Permissions derived;
  derived.used = context.parents.used & kConsistentRead;
  derived.shared = kConsistentRead | kWriteUnchanged;
  // If our own users accept that what they see changes, the backing may change as well.
  if (context.parents.shared.Intersects(kWrite)) derived.shared = derived.shared | kWrite | kResize;
  return derived;
}

Permissions DeriveForPrimary(const PermissionContext& context) {
  Permissions derived = DeriveForFilter(context);
  // Metadata: a writable format writes its own tables, whoever asks.
  if (!context.node_is_read_only) derived.used = derived.used | kWrite | kResize;
  derived.used = derived.used | kConsistentRead;
  derived.shared = derived.shared - kWrite - kResize;
  if (derived.used.Intersects(kWriteUnchanged)) derived.used = derived.used | kWrite;
  return derived;
}

Permissions DeriveForData(const PermissionContext& context) {
  Permissions derived = DeriveForFilter(context);
  derived.shared = derived.shared - kResize;
  if (derived.used.Intersects(kWriteUnchanged)) derived.used = derived.used | kWrite;
  if (derived.used.Intersects(kWrite)) derived.used = derived.used | kResize;
  return derived;
}

}  // namespace millrace
