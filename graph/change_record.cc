#include "millrace/graph/change_record.h"

#include <limits>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/graph_internals.h"

namespace millrace {

absl::StatusOr<std::unique_ptr<ChangeRecord>> ChangeRecord::Start(Graph& graph, NodeId id,
                                                                  uint64_t granularity) {
  GraphInternals& internals = GraphInternals::Of(graph);
  Node* node = internals.Resolve(id);
  if (node == nullptr) return internals.StaleError(id);
  std::unique_ptr<ChangeRecord> record(new ChangeRecord(node->driver->bytes(), granularity));
  MILLRACE_RETURN_IF_ERROR(record->ListenTo(graph, id));
  return record;
}

std::unique_ptr<ChangeRecord> ChangeRecord::OfNothing(uint64_t bytes, uint64_t granularity) {
  return std::unique_ptr<ChangeRecord>(new ChangeRecord(bytes, granularity));
}

ChangeRecord::ChangeRecord(uint64_t bytes, uint64_t granularity)
    : bitmap_(std::make_unique<DirtyBitmap>(bytes, granularity)) {}

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

void ChangeRecord::OnResize(uint64_t bytes) {
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

}  // namespace millrace
