// ChangeRecord: which parts of a node were written while it recorded. QEMU calls it a dirty bitmap;
// incremental copies are made from it.
//
//   MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<ChangeRecord> record,
//                             ChangeRecord::Start(graph, disk, 64 * 1024));
//   ... guests write ...
//   for (uint64_t at = 0; std::optional<ByteRange> area = record->bitmap().NextDirty(at, kMax);
//        at = area->end()) ...
//
// Noted are writes, zero writes and discards of the node itself, whoever makes them and whether
// they succeed or not, before a drain of the node sees them ended. A write that reaches the node
// below through it is noted there only if that node has a record too.
//
// Owned by whoever started it; the node knows of it and may go first. Home thread; nothing
// suspends.
#ifndef MILLRACE_GRAPH_CHANGE_RECORD_H_
#define MILLRACE_GRAPH_CHANGE_RECORD_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/io/dirty_bitmap.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class ChangeRecord {
 public:
  // `granularity` as for DirtyBitmap (checked). Clean at first, and recording.
  // FailedPrecondition (kStaleNode).
  static absl::StatusOr<std::unique_ptr<ChangeRecord>> Start(Graph& graph, NodeId node,
                                                             uint64_t granularity);
  ~ChangeRecord();
  ChangeRecord(const ChangeRecord&) = delete;
  ChangeRecord& operator=(const ChangeRecord&) = delete;

  // Nothing once the node is gone; what was noted stays.
  std::optional<NodeId> node() const;

  // Whether writes are noted.
  bool is_recording() const { return is_recording_; }
  void SetRecording(bool records) { is_recording_ = records; }

  const DirtyBitmap& bitmap() const { return *bitmap_; }
  void Clear();
  // Adds what another one has noted; its granules may be of another size, the nodes of another
  // length.
  void Merge(const ChangeRecord& other);

 private:
  friend struct Node;
  ChangeRecord(Node& node, uint64_t granularity);
  void Note(ByteRange range) {
    if (is_recording_) bitmap_->Set(range);
  }
  // The node has another length now: what lies beyond it is forgotten, what is new is clean.
  void Resize(uint64_t bytes);

  Node* node_;
  std::unique_ptr<DirtyBitmap> bitmap_;
  bool is_recording_ = true;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_CHANGE_RECORD_H_
