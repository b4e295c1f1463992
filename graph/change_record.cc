#include "millrace/graph/change_record.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "millrace/graph/graph_internals.h"

namespace millrace {

absl::StatusOr<std::unique_ptr<ChangeRecord>> ChangeRecord::Start(Graph& graph, NodeId id,
                                                                  uint64_t granularity) {
  GraphInternals& internals = GraphInternals::Of(graph);
  Node* node = internals.Resolve(id);
  if (node == nullptr) return internals.StaleError(id);
  return std::unique_ptr<ChangeRecord>(new ChangeRecord(*node, granularity));
}

ChangeRecord::ChangeRecord(Node& node, uint64_t granularity)
    : node_(&node), bitmap_(std::make_unique<DirtyBitmap>(node.driver->bytes(), granularity)) {
  node.change_records.push_back(this);
}

ChangeRecord::~ChangeRecord() {
  if (node_ != nullptr) std::erase(node_->change_records, this);
}

std::optional<NodeId> ChangeRecord::node() const {
  return node_ == nullptr ? std::nullopt : std::optional<NodeId>(node_->id);
}

void ChangeRecord::Clear() {
  bitmap_ = std::make_unique<DirtyBitmap>(bitmap_->bytes(), bitmap_->granularity());
}

void ChangeRecord::Merge(const ChangeRecord& other) {
  const DirtyBitmap& from = *other.bitmap_;
  if (&from == bitmap_.get()) return;
  for (uint64_t at = 0; at < from.bytes();) {
    const std::optional<ByteRange> area =
        from.NextDirty(at, std::numeric_limits<uint64_t>::max() / 2);
    if (!area) return;
    bitmap_->Set(*area);
    at = area->end();
  }
}

void ChangeRecord::Resize(uint64_t bytes) {
  if (bytes == bitmap_->bytes()) return;
  const std::unique_ptr<DirtyBitmap> old =
      std::exchange(bitmap_, std::make_unique<DirtyBitmap>(bytes, bitmap_->granularity()));
  for (uint64_t at = 0; at < old->bytes();) {
    const std::optional<ByteRange> area =
        old->NextDirty(at, std::numeric_limits<uint64_t>::max() / 2);
    if (!area) return;
    bitmap_->Set(*area);
    at = area->end();
  }
}

void Node::NoteChange(ByteRange range) {
  for (ChangeRecord* record : change_records) {
    record->Resize(driver->bytes());  // a file grows by being written to
    record->Note(range);
  }
}

void Node::NoteResize() {
  for (ChangeRecord* record : change_records) record->Resize(driver->bytes());
}

void Node::LetGoOfChangeRecords() {
  for (ChangeRecord* record : change_records) record->node_ = nullptr;
  change_records.clear();
}

}  // namespace millrace
