// Section C: a stream of one child of a quorum, n1 <- n0 beside two chains with the same data.
#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/filters/quorum.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/scenarios/iotest_030/chain_maps.h"
#include "tests/scenarios/iotest_030/simulated_cases.h"
#include "tests/scenarios/iotest_030/story_steps.h"

namespace millrace {
namespace {

std::shared_ptr<MemoryOverlayImage> CopyOf(const MemoryOverlayImage& image) {
  auto copy = std::make_shared<MemoryOverlayImage>(image.bytes, image.cluster_bytes);
  copy->map = image.map;
  std::vector<uint8_t> data(image.bytes);
  image.content.Read(0, IoVector(data.data(), data.size()));
  copy->content.Write(0, IoVector(data.data(), data.size()));
  return copy;
}

// Another chain over copies of the story's images; `hold` keeps its top, which is returned.
absl::StatusOr<NodeId> CoAddCopy(ChainStory& story, size_t number, Attachment* hold)
    MILLRACE_MAY_SUSPEND {
  std::optional<NodeId> below;
  for (size_t layer = 0; layer < story.chain().images.size(); ++layer) {
    MemoryOverlayOptions driver;
    driver.image = CopyOf(*story.chain().images[layer]);
    driver.filename = StrCat("copy-", number, "-", layer);
    AttachmentOptions keep;
    keep.holder = story.chain().monitor_holder;
    keep.stays_at_node = true;
    Attachment kept;
    NodeId node;
    {
      GraphTransaction change(story.graph());
      change.OnBehalfOf(keep.holder);
      node = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {});
      if (below) change.SetBacking(node, *below, std::nullopt);
      kept = change.Attach(node, keep);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), node));
    std::swap(*hold, kept);
    kept.CoDetach();
    below = node;
  }
  return *below;
}

// Two votes of three are enough; `reports` counts what it has to complain of.
absl::StatusOr<Attachment> CoAddQuorum(ChainStory& story, std::vector<Attachment>* holds,
                                       int* reports) MILLRACE_MAY_SUSPEND {
  std::vector<NodeId> children = {story.node(1)};
  for (size_t i = 0; i < 2; ++i) {
    MILLRACE_ASSIGN_OR_RETURN(children.emplace_back(), CoAddCopy(story, i, &holds->emplace_back()));
  }
  AttachmentOptions user;
  user.holder = MakeHolder("reader", "block device");
  user.permissions.used = kConsistentRead;
  Attachment reader;
  {
    GraphTransaction change(story.graph());
    QuorumOptions votes;
    votes.vote_threshold = 2;
    votes.on_report = [reports](const QuorumReport&) { ++*reports; };
    const NodeId quorum = change.AddNode(MakeQuorumDriver(std::move(votes)), {.name = "q"});
    for (const NodeId child : children) change.AddChild(quorum, Role::kData, child);
    reader = change.Attach(quorum, user);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), reader.node()));
  return reader;
}

// Below a quorum nobody else writes.
absl::Status MakeGuestReadOnly(ChainStory& story) MILLRACE_OPENS_VIEW {
  GraphTransaction change(story.graph());
  change.SetPermissions(story.chain().guest, {kConsistentRead, kAllPermissions});
  return change.Commit().status();
}

// All three must show the same: two of them would win the vote, but the third would be reported.
absl::Status CoMustAgree(Attachment& reader, const int& reports) MILLRACE_MAY_SUSPEND {
  std::vector<uint8_t> data(reader.bytes());
  MILLRACE_RETURN_IF_ERROR(reader.CoRead(0, IoVector(data.data(), data.size())));
  return Must(reports == 0, "quorum: a child was outvoted");
}

absl::Status CoStreamOneChild(ChainStory& story) MILLRACE_MAY_SUSPEND {
  ChainMaps maps(story);
  MILLRACE_RETURN_IF_ERROR(story.CoStart(story.Stream("s", 1, std::nullopt)));
  MILLRACE_RETURN_IF_ERROR(CoEndsWell(story, "s"));
  maps.OnStreamed(1, std::nullopt);
  MILLRACE_RETURN_IF_ERROR(maps.Check(story));
  MILLRACE_RETURN_IF_ERROR(MustTell(story, {EndedWell("s", ChainStoryOptions().bytes)}));
  return MustBeShape(story, "n1");
}

absl::Status CoStreamQuorum(ChainStory& story) MILLRACE_MAY_SUSPEND {
  MILLRACE_RETURN_IF_ERROR(MakeGuestReadOnly(story));
  std::vector<Attachment> holds;
  holds.reserve(2);
  int reports = 0;
  absl::StatusOr<Attachment> reader = CoAddQuorum(story, &holds, &reports);
  absl::Status status = reader.status();
  if (status.ok()) status = CoStreamOneChild(story);
  if (status.ok()) status = CoMustAgree(*reader, reports);
  if (reader.ok()) reader->CoDetach();
  for (Attachment& hold : holds) hold.CoDetach();
  return status;
}

const SimulatedCase kQuorumStories[] = {
    {"stream_quorum", {.layers = 2, .guest_rounds = 0}, &CoStreamQuorum},
};

}  // namespace

absl::Span<const SimulatedCase> QuorumStories() { return kQuorumStories; }

}  // namespace millrace
