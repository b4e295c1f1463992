// The fault injection filter: makes I/O fail or stand still where a test wants it. QEMU's blkdebug.
//
// The format above raises named events as it goes ("l2_load", "write_aio"), a moment before the I/O
// they stand for. Rules say what happens at an event, given the state the filter is in (a number
// that starts at 1):
//   an inject rule   makes matching requests fail from here on, until another event injects
//                    something else; `once`: only the first, and the rule is gone;
//   a set-state rule moves the filter to another state.
// All set-state rules of an event see the state from before it, as do the inject rules. Rules of
// event "none" hold from the start.
//
// An error comes before the request's effect, and, unless `immediately` is given, after one turn of
// the scheduler. Break points suspend requests at an event (break_points.h).
#ifndef MILLRACE_GRAPH_FILTERS_FAULT_INJECTION_H_
#define MILLRACE_GRAPH_FILTERS_FAULT_INJECTION_H_

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/filters/break_points.h"
#include "millrace/graph/filters/fault_limits.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class Graph;

// Kinds of requests, as bits of a set.
enum FaultIoType : uint8_t {
  kFaultRead = 1,
  kFaultWrite = 2,
  kFaultWriteZeroes = 4,
  kFaultDiscard = 8,
  kFaultFlush = 16,
  kFaultMap = 32,  // asking what is at a place: "block-status"
};
// What a rule means that names no kind.
inline constexpr uint8_t kFaultAnyIo = 31;

struct FaultInjectRule {
  std::string event{};     // a name that IsFaultEvent() knows
  uint32_t state = 0;      // only in this state; 0: in any
  int error_number = EIO;  // 0: none; what meets this rule meets no later one
  // Only requests that cover this sector of 512 bytes; absent: all, flushes included.
  std::optional<uint64_t> sector{};
  uint8_t io_types = kFaultAnyIo;
  bool once = false;
  bool immediately = false;
};

struct FaultSetStateRule {
  std::string event{};
  uint32_t state = 0;  // only in this state; 0: in any
  uint32_t new_state = 1;
};

struct FaultInjectionOptions {
  std::vector<FaultInjectRule> inject{};
  std::vector<FaultSetStateRule> set_state{};
  FaultLimits limits{};
  std::shared_ptr<BreakPoints> break_points{};  // may be null
  // Permissions taken on the child, and withheld from its other users, whatever the parents do.
  PermissionSet take_child_permissions{};
  PermissionSet unshare_child_permissions{};
};

// InvalidArgument: a rule names no event, an errno that is none, or state 0 as the new one.
absl::StatusOr<std::unique_ptr<FilterDriver>> MakeFaultInjectionDriver(
    FaultInjectionOptions options);

// The break points of the first node that has some, at or below `node` by filtered and primary
// links; null if there is none. Suspends nowhere.
std::shared_ptr<BreakPoints> BreakPointsBelow(const Graph& graph, NodeId node);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_FAULT_INJECTION_H_
