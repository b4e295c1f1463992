// NodeContext: the DriverContext of a node. Internal; not installed.
#ifndef MILLRACE_GRAPH_IO_NODE_CONTEXT_H_
#define MILLRACE_GRAPH_IO_NODE_CONTEXT_H_

#include <string>
#include <string_view>

#include "millrace/graph/driver.h"
#include "millrace/graph/node.h"

namespace millrace {

class NodeContext final : public DriverContext {
 public:
  explicit NodeContext(Node& node) : node_(node) {}

  Engine& engine() const override;
  const std::string& node_name() const override { return node_.name; }
  bool is_read_only() const override { return node_.is_read_only; }
  bool HasChild(Role role) const override { return node_.FindChild(role) != nullptr; }
  uint64_t ChildBytes(Role role) const override;
  absl::Status CoReadChild(Role role, uint64_t offset, const IoVector& target) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteChild(Role role, uint64_t offset, const IoVector& source,
                            WriteFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroesChild(Role role, ByteRange range, ZeroFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscardChild(Role role, ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlushChild(Role role) override MILLRACE_MAY_SUSPEND;
  absl::Status CoResizeChild(Role role, uint64_t bytes) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Extent> CoMapChild(Role role, ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<ChainExtent> CoMapChildChain(Role role, ByteRange range,
                                              std::string_view bottom) override
      MILLRACE_MAY_SUSPEND;
  void CoEvent(std::string_view event) override MILLRACE_MAY_SUSPEND;
  uint64_t NewestRequest() const override { return node_.newest_request; }
  uint64_t OldestRequest() const override;
  void LogWarning(std::string_view line) override;

 private:
  absl::StatusOr<Node*> Child(Role role) const;

  Node& node_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_IO_NODE_CONTEXT_H_
