// block-dirty-bitmap-add, -remove, -clear, -enable, -disable, -merge, by themselves and in
// transactions.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/block_layer.h"
#include "examples/hypervisor/block/sha256.h"
#include "examples/hypervisor/block/user_bitmaps.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/coroutine.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr uint64_t kGranularityMin = 4096;
constexpr uint64_t kGranularityMax = 65536;
constexpr size_t kNameBytesMax = 1023;

// Where a command looks.
struct Place {
  BlockLayer& layer;
  const GraphReader& at;
  const PlannedLengths& planned;
};

absl::StatusOr<std::unique_ptr<ChangeRecord>> StartRecord(const Place& place, NodeId node,
                                                          uint64_t granularity) {
  const auto planned = place.planned.find(node);
  if (planned != place.planned.end()) return ChangeRecord::OfNothing(planned->second, granularity);
  return ChangeRecord::Start(place.layer.graph(), node, granularity);
}

// The image's clusters, within bounds.
uint64_t UsualGranularity(const GraphReader& at, NodeId id) {
  const absl::StatusOr<NodeView> node = at.Resolve(id);
  const uint64_t cluster = node.ok() ? node->cluster_bytes() : 0;
  return cluster == 0 ? kGranularityMax : std::clamp(cluster, kGranularityMin, kGranularityMax);
}

absl::StatusOr<BitmapUndo> AddBitmap(const Place& place, ArgumentReader& reader) {
  const std::string node_name = reader.String("node");
  const std::string name = reader.String("name");
  const std::optional<uint64_t> given = reader.OptionalUint32("granularity");
  const bool is_persistent = reader.OptionalBool("persistent").value_or(false);
  const bool is_disabled = reader.OptionalBool("disabled").value_or(false);
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  if (name.empty()) return GenericError("Bitmap name cannot be empty");
  MILLRACE_ASSIGN_OR_RETURN(const NodeId node,
                            place.layer.FindNode(place.at, node_name, node_name));
  const uint64_t granularity = given.value_or(UsualGranularity(place.at, node));
  if (!IsPowerOfTwo(granularity) || granularity < DirtyBitmap::kGranularityMin) {
    return GenericError("Granularity must be power of 2 and at least 512");
  }
  if (name.size() > kNameBytesMax) return GenericError(StrCat("Bitmap name too long: ", name));
  if (is_persistent) {
    return GenericError(StrCat("Bitmap '", name,
                               "' cannot be kept in its image: bitmaps of "
                               "millraced live in memory; leave 'persistent' out"));
  }
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<ChangeRecord> record,
                            StartRecord(place, node, granularity));
  record->SetRecording(!is_disabled);
  MILLRACE_RETURN_IF_ERROR(place.layer.bitmaps().Add(node, name, std::move(record)));
  return BitmapUndo([&layer = place.layer, node, name] { layer.bitmaps().Take(node, name); });
}

struct Named {
  NodeId node;
  UserBitmap* bitmap = nullptr;
};

absl::StatusOr<Named> FindNamed(const Place& place, const std::string& node_name,
                                const std::string& name) {
  const absl::StatusOr<NodeId> node = place.layer.FindNode(place.at, node_name, node_name);
  if (!node.ok()) return GenericError(StrCat("Node '", node_name, "' not found"));
  MILLRACE_ASSIGN_OR_RETURN(UserBitmap* const bitmap, place.layer.bitmaps().Find(*node, name));
  return Named{*node, bitmap};
}

absl::StatusOr<Named> ReadNamed(const Place& place, ArgumentReader& reader) {
  const std::string node = reader.String("node");
  const std::string name = reader.String("name");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return FindNamed(place, node, name);
}

absl::StatusOr<BitmapUndo> RemoveBitmap(const Place& place, ArgumentReader& reader) {
  MILLRACE_ASSIGN_OR_RETURN(const Named named, ReadNamed(place, reader));
  // It goes on recording until nothing can bring it back.
  std::shared_ptr<UserBitmap> taken = place.layer.bitmaps().Take(named.node, named.bitmap->name);
  return BitmapUndo([&layer = place.layer, taken] {
    auto again = std::make_unique<UserBitmap>(std::move(*taken));
    layer.bitmaps().PutBack(std::move(again));
  });
}

// What a record holds now, to be put back.
absl::StatusOr<std::shared_ptr<ChangeRecord>> Copy(const Place& place, const Named& named) {
  const ChangeRecord& record = *named.bitmap->record;
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<ChangeRecord> copy,
                            StartRecord(place, named.node, record.bitmap().granularity()));
  copy->Merge(record);
  // What is written from now on belongs to it, too, if it comes back.
  copy->SetRecording(record.is_recording());
  return std::shared_ptr<ChangeRecord>(std::move(copy));
}

BitmapUndo PutContentBack(const Place& place, const Named& named,
                          std::shared_ptr<ChangeRecord> content) {
  return [&layer = place.layer, node = named.node, name = named.bitmap->name,
          content = std::move(content)] {
    const absl::StatusOr<UserBitmap*> bitmap = layer.bitmaps().Find(node, name);
    if (!bitmap.ok()) return;
    (*bitmap)->record->Clear();
    (*bitmap)->record->Merge(*content);
  };
}

absl::StatusOr<BitmapUndo> ClearBitmap(const Place& place, ArgumentReader& reader) {
  MILLRACE_ASSIGN_OR_RETURN(const Named named, ReadNamed(place, reader));
  MILLRACE_ASSIGN_OR_RETURN(std::shared_ptr<ChangeRecord> content, Copy(place, named));
  named.bitmap->record->Clear();
  return PutContentBack(place, named, std::move(content));
}

absl::StatusOr<BitmapUndo> SetRecording(const Place& place, ArgumentReader& reader, bool records) {
  MILLRACE_ASSIGN_OR_RETURN(const Named named, ReadNamed(place, reader));
  const bool was_recording = named.bitmap->record->is_recording();
  named.bitmap->record->SetRecording(records);
  return BitmapUndo(
      [&layer = place.layer, node = named.node, name = named.bitmap->name, was_recording] {
        const absl::StatusOr<UserBitmap*> bitmap = layer.bitmaps().Find(node, name);
        if (bitmap.ok()) (*bitmap)->record->SetRecording(was_recording);
      });
}

// A source is a name on the target's node, or {node, name}.
absl::StatusOr<Named> ReadSource(const Place& place, ArgumentReader& reader,
                                 const std::string& node, size_t index, const json::value& value) {
  if (value.is_string()) return FindNamed(place, node, std::string(View(value.get_string())));
  const std::string element = StrCat("bitmaps[", index, "]");
  if (!value.is_object()) {
    return GenericError(
        StrCat("Invalid parameter type for '", element, "', expected: BlockDirtyBitmapOrStr"));
  }
  ArgumentReader source = reader.Nested(element, value.get_object());
  return ReadNamed(place, source);
}

absl::StatusOr<BitmapUndo> MergeBitmaps(const Place& place, ArgumentReader& reader) {
  const std::string node = reader.String("node");
  const std::string target_name = reader.String("target");
  const json::array* const list = reader.OptionalArray("bitmaps");
  if (list == nullptr) reader.FailMissing("bitmaps");
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  MILLRACE_ASSIGN_OR_RETURN(const Named target, FindNamed(place, node, target_name));
  ChangeRecord& record = *target.bitmap->record;
  std::vector<const ChangeRecord*> sources;
  for (size_t i = 0; i < list->size(); ++i) {
    MILLRACE_ASSIGN_OR_RETURN(const Named source, ReadSource(place, reader, node, i, (*list)[i]));
    if (source.bitmap->record->bitmap().bytes() != record.bitmap().bytes()) {
      return GenericError(StrCat("Bitmaps are of different sizes (destination size is ",
                                 record.bitmap().bytes(), ") and can't be merged"));
    }
    sources.push_back(source.bitmap->record.get());
  }
  MILLRACE_ASSIGN_OR_RETURN(std::shared_ptr<ChangeRecord> content, Copy(place, target));
  for (const ChangeRecord* source : sources) record.Merge(*source);
  return PutContentBack(place, target, std::move(content));
}

std::vector<ArgumentSpec> ArgumentsOf(std::string_view command) {
  if (command == "block-dirty-bitmap-merge") {
    return {{"node"}, {"target"}, {"bitmaps", ArgumentType::kArray}};
  }
  if (command != "block-dirty-bitmap-add") return {{"node"}, {"name"}};
  return {{"node"},
          {"name"},
          {"granularity", ArgumentType::kUint32, true},
          {"persistent", ArgumentType::kBool, true},
          {"disabled", ArgumentType::kBool, true}};
}

// The command itself, taken back at once: nothing suspends in between.
PlanResult PlanBitmapCommand(BlockLayer& layer, std::string_view name, const json::object& given)
    MILLRACE_OPENS_VIEW {
  ArgumentReader reader(given);
  const GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const BitmapUndo undo, ChangeBitmaps(layer, view, name, reader));
  undo();
  return PlanOfStep(StrCat("carry out ", name));
}

// A hash of the bitmap as an array of 64-bit words, a bit for each granule: how QEMU's tests
// compare bitmaps.
absl::StatusOr<uint64_t> CountHashedWords(BlockLayer& layer, const json::object& given)
    MILLRACE_OPENS_VIEW {
  constexpr uint64_t kWordsMax = (uint64_t{1} << 30) / sizeof(uint64_t);
  ArgumentReader reader(given);
  const GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const Named named, ReadNamed({layer, view, {}}, reader));
  const DirtyBitmap& bitmap = named.bitmap->record->bitmap();
  const uint64_t granules = AlignUp(bitmap.bytes(), bitmap.granularity()) / bitmap.granularity();
  const uint64_t words = std::max<uint64_t>(AlignUp(granules, 64) / 64, 1);
  if (words <= kWordsMax) return words;
  return GenericError(StrCat("a bitmap of ", granules, " granules is too large to be hashed; take ",
                             64 * kWordsMax, " at most"));
}

// Adds the words from `first` on. The bitmap is looked for again, as time has passed.
absl::Status HashWords(BlockLayer& layer, const json::object& given, uint64_t first, uint64_t words,
                       Sha256* hash) MILLRACE_OPENS_VIEW {
  ArgumentReader reader(given);
  const GraphView view(layer.graph());
  MILLRACE_ASSIGN_OR_RETURN(const Named named, ReadNamed({layer, view, {}}, reader));
  const DirtyBitmap& bitmap = named.bitmap->record->bitmap();
  const uint64_t granularity = bitmap.granularity();
  const uint64_t from = first * 64;  // in granules
  const uint64_t to = from + words * 64;
  std::vector<uint8_t> bytes(words * sizeof(uint64_t));
  for (uint64_t at = from; at < to;) {
    const std::optional<ByteRange> dirty =
        bitmap.NextDirty(at * granularity, (to - at) * granularity);
    if (!dirty) break;
    const uint64_t end = std::min(AlignUp(dirty->end(), granularity) / granularity, to);
    for (at = dirty->offset / granularity; at < end; ++at) {
      const uint64_t bit = at - from;
      bytes[bit / 8] = static_cast<uint8_t>(bytes[bit / 8] | (1u << (bit % 8)));
    }
  }
  hash->Add(bytes);
  return absl::OkStatus();
}

// Others have their turn after each part: what guests write meanwhile may be in it or not.
CommandResult CoHashBitmap(BlockLayer& layer, const json::object& given) MILLRACE_MAY_SUSPEND {
  constexpr uint64_t kWordsAtOnce = 8192;
  MILLRACE_ASSIGN_OR_RETURN(const uint64_t words, CountHashedWords(layer, given));
  Sha256 hash;
  for (uint64_t at = 0; at < words; at += kWordsAtOnce) {
    if (at > 0) CoYield("bitmap hash");
    MILLRACE_RETURN_IF_ERROR(
        HashWords(layer, given, at, std::min(kWordsAtOnce, words - at), &hash));
  }
  return json::object({{"sha256", hash.Finish()}});
}

}  // namespace

absl::StatusOr<BitmapUndo> ChangeBitmaps(BlockLayer& layer, const GraphReader& at,
                                         std::string_view action, ArgumentReader& reader,
                                         const PlannedLengths& planned) {
  const Place place{layer, at, planned};
  if (action == "block-dirty-bitmap-add") return AddBitmap(place, reader);
  if (action == "block-dirty-bitmap-remove") return RemoveBitmap(place, reader);
  if (action == "block-dirty-bitmap-clear") return ClearBitmap(place, reader);
  if (action == "block-dirty-bitmap-merge") return MergeBitmaps(place, reader);
  return SetRecording(place, reader, action == "block-dirty-bitmap-enable");
}

void RegisterBitmapCommands(BlockLayer& layer) {
  layer.host().commands.Register(
      {.name = "x-debug-block-dirty-bitmap-sha256",
       .arguments = {{{"node"}, {"name"}}},
       .handler = [&layer](const json::object& given)
                      MILLRACE_MAY_SUSPEND { return CoHashBitmap(layer, given); }});
  for (const std::string_view name :
       {"block-dirty-bitmap-add", "block-dirty-bitmap-remove", "block-dirty-bitmap-clear",
        "block-dirty-bitmap-enable", "block-dirty-bitmap-disable", "block-dirty-bitmap-merge"}) {
    layer.host().commands.Register({.name = std::string(name),
                                    .arguments = ArgumentsOf(name),
                                    .handler = [&layer, name](const json::object& arguments)
                                                   MILLRACE_MAY_SUSPEND -> CommandResult {
                                      ArgumentReader reader(arguments);
                                      const GraphView view(layer.graph());
                                      MILLRACE_RETURN_IF_ERROR(
                                          ChangeBitmaps(layer, view, name, reader).status());
                                      return json::object();
                                    }});
    layer.host().commands.SetPlanner(std::string(name),
                                     [&layer, name](const json::object& given) MILLRACE_OPENS_VIEW {
                                       return PlanBitmapCommand(layer, name, given);
                                     });
  }
}

}  // namespace millrace
