#include "examples/hypervisor/block/user_bitmaps.h"

#include <algorithm>
#include <utility>

#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// QEMU counts the whole of a last granule that sticks out of the image.
uint64_t CountOf(const DirtyBitmap& bitmap) {
  const uint64_t rest = bitmap.bytes() % bitmap.granularity();
  const bool sticks_out = rest != 0 && bitmap.IsDirty(bitmap.bytes() - 1);
  return bitmap.dirty_bytes() + (sticks_out ? bitmap.granularity() - rest : 0);
}

}  // namespace

absl::Status UserBitmaps::Add(NodeId node, const std::string& name,
                              std::unique_ptr<ChangeRecord> record) {
  Prune();
  if (Find(node, name).ok()) return GenericError(StrCat("Bitmap already exists: ", name));
  auto bitmap = std::make_unique<UserBitmap>();
  bitmap->name = name;
  bitmap->node = node;
  bitmap->is_planned = !record->node();
  bitmap->record = std::move(record);
  bitmap->sequence = next_sequence_++;
  bitmaps_.push_back(std::move(bitmap));
  return absl::OkStatus();
}

absl::StatusOr<UserBitmap*> UserBitmaps::Find(NodeId node, std::string_view name) const {
  for (const std::unique_ptr<UserBitmap>& bitmap : bitmaps_) {
    if (bitmap->name == name && bitmap->node == node) return bitmap.get();
  }
  return GenericError(StrCat("Dirty bitmap '", name, "' not found"));
}

std::unique_ptr<UserBitmap> UserBitmaps::Take(NodeId node, std::string_view name) {
  for (auto at = bitmaps_.begin(); at != bitmaps_.end(); ++at) {
    if ((*at)->name != name || (*at)->node != node) continue;
    std::unique_ptr<UserBitmap> taken = std::move(*at);
    bitmaps_.erase(at);
    return taken;
  }
  return nullptr;
}

void UserBitmaps::PutBack(std::unique_ptr<UserBitmap> bitmap) {
  const auto place = std::find_if(bitmaps_.begin(), bitmaps_.end(), [&](const auto& other) {
    return other->sequence > bitmap->sequence;
  });
  bitmaps_.insert(place, std::move(bitmap));
}

json::array UserBitmaps::Describe(NodeId node) const {
  json::array shown;
  for (auto at = bitmaps_.rbegin(); at != bitmaps_.rend(); ++at) {
    const UserBitmap& bitmap = **at;
    if (bitmap.node != node) continue;
    shown.push_back({{"name", bitmap.name},
                     {"recording", bitmap.record->is_recording()},
                     {"persistent", false},
                     {"busy", false},
                     {"granularity", bitmap.record->bitmap().granularity()},
                     {"count", CountOf(bitmap.record->bitmap())}});
  }
  return shown;
}

void UserBitmaps::Prune() {
  std::erase_if(bitmaps_,
                [](const auto& bitmap) { return !bitmap->is_planned && !bitmap->record->node(); });
}

}  // namespace millrace
