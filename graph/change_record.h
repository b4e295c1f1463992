// ChangeRecord: which parts of a node were written while it recorded. QEMU calls it a dirty bitmap;
// incremental copies are made from it.
//
//   MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<ChangeRecord> record,
//                             ChangeRecord::Start(graph, disk, 64 * 1024));
//   ... guests write ...
//   for (uint64_t at = 0; std::optional<ByteRange> area = record->bitmap().NextDirty(at, kMax);
//        at = area->end()) ...
//
// What is noted, and when, is what a ChangeListener is told.
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
#include "millrace/graph/change_listener.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/io/dirty_bitmap.h"
#include "millrace/graph/node_id.h"

namespace millrace {

class ChangeRecord final : public ChangeListener {
 public:
  // `granularity` as for DirtyBitmap (checked). Clean at first, and recording.
  // FailedPrecondition (kStaleNode).
  static absl::StatusOr<std::unique_ptr<ChangeRecord>> Start(Graph& graph, NodeId node,
                                                             uint64_t granularity);
  // Of no node, `bytes` long: what is merged into it is all that it holds.
  static std::unique_ptr<ChangeRecord> OfNothing(uint64_t bytes, uint64_t granularity);
  // Whether writes are noted.
  bool is_recording() const { return is_recording_; }
  void SetRecording(bool records) { is_recording_ = records; }

  const DirtyBitmap& bitmap() const { return *bitmap_; }
  void Clear();
  // Adds what another one has noted; its granules may be of another size, the nodes of another
  // length.
  void Merge(const ChangeRecord& other);

 private:
  ChangeRecord(uint64_t bytes, uint64_t granularity);
  void OnChange(ByteRange range, uint64_t node_bytes) override {
    OnResize(node_bytes);
    if (is_recording_) bitmap_->Set(range);
  }
  // The node has another length now: what lies beyond it is forgotten, what is new is clean.
  void OnResize(uint64_t node_bytes) override;

  std::unique_ptr<DirtyBitmap> bitmap_;
  bool is_recording_ = true;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_CHANGE_RECORD_H_
