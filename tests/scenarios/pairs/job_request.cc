#include "tests/scenarios/pairs/job_request.h"

#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/mirror/mirror_job.h"

namespace millrace {
namespace {

JobSpec HeldSpec(const std::string& id, bool finalizes_by_hand) {
  JobSpec spec;
  spec.id = id;
  spec.speed = 1;
  spec.finalizes_automatically = !finalizes_by_hand;
  spec.dismisses_automatically = false;
  return spec;
}

// An empty image of the disk's size, "t", for a mirror.
absl::StatusOr<NodeId> CoAddTarget(ChainStory& story, Attachment* hold) MILLRACE_MAY_SUSPEND {
  MemoryOverlayOptions driver;
  driver.bytes = story.chain().images.back()->bytes;
  driver.filename = "target";
  AttachmentOptions keep;
  keep.holder = story.chain().monitor_holder;
  keep.stays_at_node = true;
  NodeId node;
  {
    GraphTransaction change(story.graph());
    change.OnBehalfOf(keep.holder);
    node = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {.name = "t"});
    *hold = change.Attach(node, keep);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), node));
  return node;
}

absl::Status CoStartMirrorOf(ChainStory& story, JobSpec spec, Attachment* hold)
    MILLRACE_MAY_SUSPEND {
  MirrorOptions options;
  options.spec = std::move(spec);
  options.source = story.chain().guest.node();
  MILLRACE_ASSIGN_OR_RETURN(options.target, CoAddTarget(story, hold));
  return CoStartMirror(story.graph(), story.jobs(), std::move(options)).status();
}

}  // namespace

std::string JobRequest::InWords() const {
  const std::string range = base ? StrCat(" over ", *base) : std::string();
  switch (kind) {
    case RequestKind::kStream:
      return StrCat("stream ", top, range);
    case RequestKind::kStreamToBottom:
      return StrCat("stream ", top, " to bottom ", *base + 1);
    case RequestKind::kCommit:
      return StrCat("commit ", top, " into ", *base);
    case RequestKind::kActiveCommit:
      return StrCat("active commit into ", *base);
    case RequestKind::kMirror:
      return "mirror";
    case RequestKind::kInsertFilter:
      return StrCat("filter above ", top);
  }
  return "?";
}

std::set<size_t> JobRequest::Removes(size_t layers) const {
  size_t first = 0;  // the lowest that goes
  size_t end = 0;    // one above the highest
  switch (kind) {
    case RequestKind::kStream:
    case RequestKind::kStreamToBottom:
      first = base ? *base + 1 : 0;
      end = top;
      break;
    case RequestKind::kCommit:
    case RequestKind::kActiveCommit:
      first = *base + 1;
      end = top + 1;
      break;
    case RequestKind::kMirror:
      end = layers;
      break;
    case RequestKind::kInsertFilter:
      break;
  }
  std::set<size_t> removed;
  for (size_t layer = first; layer < end; ++layer) removed.insert(layer);
  return removed;
}

absl::Status JobRequest::CoStart(ChainStory& story, const std::string& id, bool finalizes_by_hand,
                                 Attachment* hold) const {
  JobSpec spec = HeldSpec(id, finalizes_by_hand);
  switch (kind) {
    case RequestKind::kStream:
    case RequestKind::kStreamToBottom: {
      StreamOptions options = kind == RequestKind::kStream
                                  ? story.Stream(id, top, base)
                                  : story.StreamToBottom(id, top, *base + 1);
      options.spec = std::move(spec);
      return story.CoStart(std::move(options));
    }
    case RequestKind::kCommit:
    case RequestKind::kActiveCommit: {
      CommitOptions options = story.Commit(id, top, *base);
      options.spec = std::move(spec);
      return story.CoStart(std::move(options));
    }
    case RequestKind::kMirror:
      return CoStartMirrorOf(story, std::move(spec), hold);
    case RequestKind::kInsertFilter: {
      InsertFilterOptions options;
      options.spec = std::move(spec);
      options.below = story.node(top);
      return CoStartInsertFilter(story.graph(), story.jobs(), story.shadow().MakeFilter(),
                                 std::move(options))
          .status();
    }
  }
  return absl::OkStatus();
}

void JobRequest::Account(ChainStory& story) const {
  if (kind == RequestKind::kCommit) story.views().OnCommitted(top, *base);
  if (kind == RequestKind::kActiveCommit) story.views().OnWritten(*base);
}

std::vector<JobRequest> AllRequests(size_t layers) {
  std::vector<JobRequest> all;
  for (size_t top = 1; top < layers; ++top) {
    all.push_back({RequestKind::kStream, top, std::nullopt});
    for (size_t base = 0; base < top; ++base) {
      all.push_back({RequestKind::kStream, top, base});
      all.push_back({RequestKind::kStreamToBottom, top, base});
      const bool is_active = top + 1 == layers;
      all.push_back({is_active ? RequestKind::kActiveCommit : RequestKind::kCommit, top, base});
    }
  }
  all.push_back({RequestKind::kMirror, layers - 1, std::nullopt});
  for (size_t node = 0; node < layers; ++node) {
    all.push_back({RequestKind::kInsertFilter, node, std::nullopt});
  }
  return all;
}

}  // namespace millrace
