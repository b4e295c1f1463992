// NodeContext: the DriverContext of a node. Internal; not installed.
#ifndef MILLRACE_GRAPH_IO_NODE_CONTEXT_H_
#define MILLRACE_GRAPH_IO_NODE_CONTEXT_H_

#include <string>
#include <string_view>
#include <vector>

#include "millrace/graph/driver.h"
#include "millrace/graph/node.h"

namespace millrace {

class NodeContext final : public DriverContext {
 public:
  explicit NodeContext(Node& node) : node_(node) {}

  Engine& engine() const override;
  const std::string& node_name() const override { return node_.name; }
  std::string NodeInWords() const override { return node_.InWords(); }
  bool is_read_only() const override { return node_.is_read_only; }
  std::vector<ConflictHolder> OthersWithFile(const FileIdentity& file,
                                             const Permissions& need) const override;
  bool CoWaitWhileLettingGoOf(const FileIdentity& file) override MILLRACE_MAY_SUSPEND;
  bool HasChild(ChildKey child) const override { return FindEdge(child) != nullptr; }
  std::string ChildName(ChildKey child) const override;
  uint64_t ChildBytes(ChildKey child) const override;
  bool IsChildWindow(ChildKey child) const override;
  absl::Status CoReadChild(ChildKey child, uint64_t offset, const IoVector& target) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteChild(ChildKey child, uint64_t offset, const IoVector& source,
                            WriteFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroesChild(ChildKey child, ByteRange range, ZeroFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscardChild(ChildKey child, ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlushChild(ChildKey child) override MILLRACE_MAY_SUSPEND;
  absl::Status CoReserveInChild(ChildKey child, ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoResizeChild(ChildKey child, uint64_t bytes) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Extent> CoMapChild(ChildKey child, ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoReadChildParts(ChildKey child, absl::Span<const ChainPart> parts,
                                const IoVector& memory) override MILLRACE_MAY_SUSPEND;
  bool CoKeepChildParts(ChildKey child, absl::Span<const ChainPart> parts,
                        const IoVector& memory) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteChildParts(ChildKey child, absl::Span<const ByteRange> ranges,
                                 const IoVector& memory, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::StatusOr<ChainExtent> CoMapChildChain(ChildKey child, ByteRange range,
                                              std::string_view bottom) override
      MILLRACE_MAY_SUSPEND;
  void CoEvent(std::string_view event) override MILLRACE_MAY_SUSPEND;
  uint64_t NewestRequest() const override { return node_.newest_request; }
  uint64_t OldestRequest() const override;
  void LogWarning(std::string_view line) override;

 private:
  Edge* FindEdge(ChildKey child) const;
  absl::StatusOr<Node*> Child(ChildKey child) const;

  Node& node_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_NODE_CONTEXT_H_
