// Several ranges of a chain in one request, and what is known of a chain, a table at a time.
// Internal; not installed.
//
// A request for many ranges maps them all first and then goes to each file once: what is contiguous
// there is one read or write, the rest goes to the host together. Where somebody must see every
// single operation (a filter that acts, a format over one, zero detection) it falls apart into
// ordinary ones, in order.
//
// Reads may know already which layer decides a range (ChainPart), so that a chain of 200 layers
// costs what two cost. The topmost layer is always looked at anew: that is where guests write. What
// lies between it and the named layer must be as it was when the answer was found, which a revision
// over these nodes tells (ChainRevisions).
#ifndef MILLRACE_GRAPH_IO_CHAIN_PARTS_H_
#define MILLRACE_GRAPH_IO_CHAIN_PARTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/node.h"

namespace millrace {

// The layers below the topmost one of a chain, each with a number that changes when a mapping of a
// layer above it (the topmost excepted), or the chain itself down to it, has changed. Valid while a
// request is in flight on the chain's start and the caller does not suspend.
class ChainRevisions {
 public:
  // Layers down to `last`, to the bottom if it is null or not there.
  explicit ChainRevisions(Node& start, const Node* last = nullptr);

  // The layer, if it can be read past everything above it and `revision` still holds; else null.
  // Walks down to it and no further.
  static Node* FindIn(Node& start, NodeId layer, uint64_t revision);
  // The same for the layer that each part names; one walk, down to the lowest of them.
  static std::vector<Node*> FindAll(Node& start, absl::Span<const ChainPart> parts);
  // 0 if the layer is not there, or somebody above it must see the reads.
  uint64_t Of(NodeId layer) const;

 private:
  // Calls `visit(layer, revision)` for each from the top down to `last` (null: to the bottom),
  // until it returns true.
  template <typename Visit>
  static void Walk(Node& start, const Node* last, Visit visit);

  struct Layer {
    Node* node = nullptr;
    uint64_t revision = 0;
  };
  std::vector<Layer> layers_;  // by id
};

// `memory` holds the ranges one after the other; they ascend and do not overlap.
absl::Status CoReadNodeParts(Node& node, absl::Span<const ChainPart> parts, const IoVector& memory)
    MILLRACE_MAY_SUSPEND;
absl::Status CoWriteNodeParts(Node& node, absl::Span<const ByteRange> ranges,
                              const IoVector& memory, WriteFlags flags) MILLRACE_MAY_SUSPEND;
// Has the host copy, or share, what `parts` of `source` show into the same ranges of `target`, so
// that the bytes do not pass through here. `memory` is as long as the parts together; it only names
// the bytes. False if that cannot be done here or now: not all of it lies in files of one file
// system, or the host will not. It may have copied some of it into clusters that are in use
// already; what is new is linked wholly or not at all. So the caller must read and write the same
// ranges.
struct ShareOptions {
  ShareBy by = ShareBy::kAnyMeans;
  bool only_if_unallocated = false;  // what the target has, it keeps
};
bool CoTryShareNodeParts(Node& source, absl::Span<const ChainPart> parts, Node& target,
                         const IoVector& memory, ShareOptions options) MILLRACE_MAY_SUSPEND;
// See Attachment::CoPrefetch.
absl::Status CoPrefetchNode(Node& node, absl::Span<const ChainPart> parts) MILLRACE_MAY_SUSPEND;

// Appends the answers for `range` in order; see Attachment::CoAllocations.
absl::Status CoAllocationsInChain(Node& top, ByteRange range, const Node* first, const Node* last,
                                  std::vector<AllocationRun>* runs) MILLRACE_MAY_SUSPEND;

// See Attachment::PathBelow.
PathTraits PathTraitsBelow(Node& top, const Node* last);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_CHAIN_PARTS_H_
