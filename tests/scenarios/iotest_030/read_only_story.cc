// read_only, of section A: a qcow2 overlay whose file was opened read-only in so many words. A
// memory overlay has no file, so this one stands on a qcow2 image in memory.
#include <memory>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/scenarios/iotest_030/chain_maps.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"
#include "tests/support/qcow2_images.h"

namespace millrace {
namespace {

constexpr ChainStoryOptions kThreeLayers = {.layers = 3};

// Made once, before any story is told: making it takes an engine of its own.
const CrashDisk& EmptyOverlay() {
  static const CrashDisk* const disk =
      new CrashDisk(MakeImage({.bytes = kThreeLayers.bytes, .cluster_bytes = 512}));
  return *disk;
}

std::shared_ptr<MemoryImage> CopyOfEmptyOverlay() {
  std::vector<uint8_t> bytes = EmptyOverlay().live();
  auto image = std::make_shared<MemoryImage>();
  image->bytes = bytes.size();
  image->content.Write(0, IoVector(bytes.data(), bytes.size()));
  return image;
}

// Both nodes; `hold` keeps the overlay. Only the file was told to be read-only for good.
absl::StatusOr<NodeId> CoAddReadOnlyTop(ChainStory& story, Attachment* hold) MILLRACE_MAY_SUSPEND {
  NodeId file;
  NodeId top;
  {
    GraphTransaction change(story.graph());
    change.OnBehalfOf(story.chain().monitor_holder);
    file =
        change.AddNode(MakeMemoryDriver({.image = CopyOfEmptyOverlay(), .filename = "ro-top"}),
                       {.name = "ro-file", .is_read_only = true, .follows_parent_access = false});
    top = change.AddNode(MakeQcow2Driver(), {.name = "ro-top", .is_read_only = true});
    change.AddChild(top, Role::kPrimary, file);
    change.SetBacking(top, story.node(1), std::nullopt);
    AttachmentOptions keep;
    keep.holder = story.chain().monitor_holder;
    keep.stays_at_node = true;
    *hold = change.Attach(top, keep);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), file));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), top));
  return top;
}

absl::Status CoReadOnly(ChainStory& story) MILLRACE_MAY_SUSPEND {
  Attachment hold;
  const absl::StatusOr<NodeId> top = CoAddReadOnlyTop(story, &hold);
  absl::Status status = top.status();
  if (status.ok()) {
    StreamOptions stream = story.Stream("s", 1, 0);
    stream.top = *top;
    status = MustBeRefused(story.CoStart(stream), ConflictReason::kReadOnly, "ro-file", "ro-top");
  }
  // It can be removed, and nothing of the job is left on what was below it.
  if (hold.is_attached()) hold.CoDetach();
  MILLRACE_RETURN_IF_ERROR(status);
  MILLRACE_RETURN_IF_ERROR(MustTell(story, {}));
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 2, std::nullopt)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  maps.OnStreamed(2, std::nullopt);
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  return MustBeShape(story, "n2");
}

const SimulatedCase kReadOnlyStory[] = {{"read_only", kThreeLayers, &CoReadOnly}};

}  // namespace

absl::Span<const SimulatedCase> ReadOnlyStories() {
  EmptyOverlay();
  return kReadOnlyStory;
}

}  // namespace millrace
