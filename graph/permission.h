// Permissions: what a user of a node does with it, and what it lets others do meanwhile.
//
// Every edge carries two sets of QEMU's four bits: `used` and `shared`. Two edges into one node are
// compatible if each one's used bits are among the other's shared bits. What a node's own child
// edges carry follows from the edges above it by a pure function (Driver::DerivePermissions), so
// the whole graph's permissions follow from its root edges (G5).
//
// A job's filter may ask less of its child than its own users ask of it, while the job lives; when
// it goes, they ask for themselves. That must not be refused, so every edge carries a second pair,
// what is reserved: what it would carry if no such filter held anything back. It is derived and
// checked like the first, and who would be in the way then is refused when he comes.
#ifndef MILLRACE_GRAPH_PERMISSION_H_
#define MILLRACE_GRAPH_PERMISSION_H_

#include <cstdint>
#include <string>

#include "millrace/graph/role.h"

namespace millrace {

// A set of permission bits.
class PermissionSet {
 public:
  constexpr PermissionSet() = default;
  constexpr explicit PermissionSet(uint8_t bits) : bits_(bits) {}
  constexpr uint8_t bits() const { return bits_; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool Contains(PermissionSet other) const { return (other.bits_ & ~bits_) == 0; }
  constexpr bool Intersects(PermissionSet other) const { return (other.bits_ & bits_) != 0; }
  friend constexpr PermissionSet operator|(PermissionSet a, PermissionSet b) {
    return PermissionSet(static_cast<uint8_t>(a.bits_ | b.bits_));
  }
  friend constexpr PermissionSet operator&(PermissionSet a, PermissionSet b) {
    return PermissionSet(static_cast<uint8_t>(a.bits_ & b.bits_));
  }
  friend constexpr PermissionSet operator-(PermissionSet a, PermissionSet b) {
    return PermissionSet(static_cast<uint8_t>(a.bits_ & ~b.bits_));
  }
  friend constexpr bool operator==(PermissionSet, PermissionSet) = default;

  // "consistent read, write"; in bit order.
  std::string ToString() const;

 private:
  uint8_t bits_ = 0;
};

inline constexpr PermissionSet kNoPermissions{};
inline constexpr PermissionSet kConsistentRead{1};  // reads see a valid state of the disk
inline constexpr PermissionSet kWrite{2};           // writes that change what is visible
inline constexpr PermissionSet kWriteUnchanged{4};  // writes of what is visible already
inline constexpr PermissionSet kResize{8};
inline constexpr PermissionSet kAllPermissions{15};

struct Permissions {
  // What both ask, and only what both let others do.
  friend constexpr Permissions Union(const Permissions& a, const Permissions& b) {
    return {a.used | b.used, a.shared & b.shared};
  }

  PermissionSet used{};
  PermissionSet shared = kAllPermissions;
  friend constexpr bool operator==(const Permissions&, const Permissions&) = default;
};

// What a guest's disk asks for: nobody else writes while the guest does, nor resizes the disk under
// it, but all may read, and may write what is visible already, as stream and commit do below it. A
// read-only disk leaves out the write; others are held off all the same. QEMU's devices ask for the
// same.
constexpr Permissions GuestDevicePermissions(bool is_writable = true) {
  return {is_writable ? kConsistentRead | kWrite : kConsistentRead,
          kConsistentRead | kWriteUnchanged};
}

// What DerivePermissions may depend on.
struct PermissionContext {
  Role role = Role::kPrimary;  // of the child edge in question
  Permissions parents;         // used: union over the node's parents; shared: intersection
  bool node_is_read_only = false;
  bool node_has_parents = true;
};

// QEMU's rules for the usual kinds of child, for drivers to choose from.
Permissions DeriveForFilter(const PermissionContext& context);
Permissions DeriveForBacking(const PermissionContext& context);
Permissions DeriveForPrimary(const PermissionContext& context);  // data and metadata together
Permissions DeriveForData(const PermissionContext& context);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_PERMISSION_H_
