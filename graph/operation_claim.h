// OperationClaim: what users may not start on a node, because somebody is at work there. (QEMU's op
// blockers.)
//
// A job claims all operations on the nodes it owns, before its first suspension and together with
// its lease. Leases guard structure, permissions guard data, claims guard what users may start. Per
// node a list; the newest claim is the one reported. Move-only; released by its destructor. Home
// thread only.
#ifndef MILLRACE_GRAPH_OPERATION_CLAIM_H_
#define MILLRACE_GRAPH_OPERATION_CLAIM_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "millrace/graph/holder.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class Graph;
class GraphReader;

enum class Operation : uint8_t {
  kStream,        // fill it from what is below it
  kCommitSource,  // commit from it
  kCommitTarget,  // take part in a commit, as its base or between
  kMirrorSource,
  kMirrorTarget,
  kReplace,  // put another node in its place
  kResize,
  kSnapshot,  // put an overlay above it, or make it one
  kDelete,
  kChange,  // give it other options or children: blockdev-reopen, change-backing-file
};
inline constexpr size_t kOperationCount = 10;
std::string_view OperationName(Operation operation);

class OperationSet {
 public:
  constexpr OperationSet() = default;
  static constexpr OperationSet All() { return OperationSet(0xffff); }
  constexpr OperationSet With(Operation operation) const {
    return OperationSet(static_cast<uint16_t>(bits_ | (1u << static_cast<unsigned>(operation))));
  }
  constexpr OperationSet Without(Operation operation) const {
    return OperationSet(static_cast<uint16_t>(bits_ & ~(1u << static_cast<unsigned>(operation))));
  }
  constexpr bool Contains(Operation operation) const {
    return (bits_ & (1u << static_cast<unsigned>(operation))) != 0;
  }

 private:
  constexpr explicit OperationSet(uint16_t bits) : bits_(bits) {}
  uint16_t bits_ = 0;
};

struct OperationClaimRecord {
  OperationSet operations;
  HolderRef holder;
  std::string as{};      // what for, where that matters (ConflictHolder::as)
  uint64_t ordinal = 0;  // identifies the claim
};

class OperationClaim {
 public:
  OperationClaim() = default;
  // Claims `operations` on the node. The node must exist (checked): resolve it in the same step.
  OperationClaim(Graph& graph, NodeId node, OperationSet operations, HolderRef holder,
                 std::string as = {});
  ~OperationClaim() { Release(); }
  OperationClaim(OperationClaim&& other) noexcept;
  OperationClaim& operator=(OperationClaim&& other) noexcept;

  void Release();

  // FailedPrecondition naming the node and the newest holder if the operation is claimed there.
  static absl::Status Check(const GraphReader& reader, NodeId node, Operation operation);

 private:
  Graph* graph_ = nullptr;
  NodeId node_;
  uint64_t ordinal_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_OPERATION_CLAIM_H_
