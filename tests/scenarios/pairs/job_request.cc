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

JobSpec SpecOf(const JobStart& start) {
  JobSpec spec;
  spec.id = start.id;
  spec.speed = start.speed;
  spec.finalizes_automatically = !start.finalizes_by_hand;
  spec.dismisses_automatically = false;
  return spec;
}

// An empty image of the disk's size for a mirror of this id.
absl::StatusOr<NodeId> CoAddTarget(ChainStory& story, const std::string& id, Attachment* hold)
    MILLRACE_MAY_SUSPEND {
  MemoryOverlayOptions driver;
  driver.bytes = story.chain().images.back()->bytes;
  driver.filename = StrCat("target-of-", id);
  AttachmentOptions keep;
  keep.holder = story.chain().monitor_holder;
  keep.stays_at_node = true;
  NodeId node;
  {
    GraphTransaction change(story.graph());
    change.OnBehalfOf(keep.holder);
    node = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {.name = StrCat("t-", id)});
    *hold = change.Attach(node, keep);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(story.graph(), node));
  return node;
}

// The node that is meant: of the layer, or the filter that the request names in its place.
NodeId NodeFor(ChainStory& story, const JobRequest& request, const JobStart& start, FilterEnd end,
               size_t layer) MILLRACE_OPENS_VIEW {
  return request.names_filter == end ? story.Find(start.others_filter) : story.node(layer);
}

absl::Status CoStartStreamOf(ChainStory& story, const JobRequest& request, const JobStart& start)
    MILLRACE_MAY_SUSPEND {
  StreamOptions options;
  options.job.spec = SpecOf(start);
  options.job.filter_name = start.filter_name;
  options.top = NodeFor(story, request, start, FilterEnd::kTop, request.top);
  if (request.kind == RequestKind::kStreamToBottom) {
    options.bottom = NodeFor(story, request, start, FilterEnd::kBottom, *request.base + 1);
  } else if (request.base) {
    options.base = NodeFor(story, request, start, FilterEnd::kBase, *request.base);
  }
  return story.CoStart(std::move(options));
}

absl::Status CoStartCommitOf(ChainStory& story, const JobRequest& request, const JobStart& start)
    MILLRACE_MAY_SUSPEND {
  CommitOptions options = story.Commit(start.id, request.top, *request.base);
  options.job.spec = SpecOf(start);
  options.job.filter_name = start.filter_name;
  options.top = NodeFor(story, request, start, FilterEnd::kTop, request.top);
  options.base = NodeFor(story, request, start, FilterEnd::kBase, *request.base);
  return story.CoStart(std::move(options));
}

absl::Status CoStartMirrorOf(ChainStory& story, const JobRequest& request, const JobStart& start,
                             Attachment* hold) MILLRACE_MAY_SUSPEND {
  MirrorOptions options;
  options.job.spec = SpecOf(start);
  options.job.filter_name = start.filter_name;
  options.source = request.names_filter == FilterEnd::kTop ? story.Find(start.others_filter)
                                                           : story.chain().guest.node();
  MILLRACE_ASSIGN_OR_RETURN(options.target, CoAddTarget(story, start.id, hold));
  return story.CoStart(std::move(options));
}

absl::Status CoStartInsertFilterOf(ChainStory& story, const JobRequest& request,
                                   const JobStart& start) MILLRACE_MAY_SUSPEND {
  InsertFilterOptions options;
  options.spec = SpecOf(start);
  options.filter_name = start.filter_name;
  options.below = NodeFor(story, request, start, FilterEnd::kTop, request.top);
  return story.CoStart(std::move(options));
}

}  // namespace

std::string JobRequest::InWords() const {
  const auto of = [&](FilterEnd end, size_t layer) {
    return StrCat(names_filter == end ? "the filter on " : "", layer);
  };
  const std::string onto = of(FilterEnd::kTop, top);
  switch (kind) {
    case RequestKind::kStream:
      return StrCat("stream ", onto, base ? StrCat(" over ", of(FilterEnd::kBase, *base)) : "");
    case RequestKind::kStreamToBottom:
      return StrCat("stream ", onto, " to bottom ", of(FilterEnd::kBottom, *base + 1));
    case RequestKind::kCommit:
      return StrCat("commit ", onto, " into ", of(FilterEnd::kBase, *base));
    case RequestKind::kActiveCommit:
      return StrCat("active commit of ", onto, " into ", of(FilterEnd::kBase, *base));
    case RequestKind::kMirror:
      return StrCat("mirror ", onto);
    case RequestKind::kInsertFilter:
      return StrCat("filter above ", onto);
  }
  return "?";
}

bool JobRequest::HasWork() const {
  switch (kind) {
    case RequestKind::kStream:
    case RequestKind::kStreamToBottom:
      return !base || *base + 1 < top;
    case RequestKind::kCommit:
    case RequestKind::kActiveCommit:
    case RequestKind::kMirror:
      return true;
    case RequestKind::kInsertFilter:
      return false;
  }
  return false;
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

absl::Status JobRequest::CoStart(ChainStory& story, const JobStart& start, Attachment* hold) const {
  switch (kind) {
    case RequestKind::kStream:
    case RequestKind::kStreamToBottom:
      return CoStartStreamOf(story, *this, start);
    case RequestKind::kCommit:
    case RequestKind::kActiveCommit:
      return CoStartCommitOf(story, *this, start);
    case RequestKind::kMirror:
      return CoStartMirrorOf(story, *this, start, hold);
    case RequestKind::kInsertFilter:
      return CoStartInsertFilterOf(story, *this, start);
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

std::vector<JobRequest> RequestsOfFilterOf(const JobRequest& other, size_t layers) {
  const size_t below = other.top;  // the filter stands on it
  const bool is_on_top = below + 1 == layers;
  const RequestKind commit = is_on_top ? RequestKind::kActiveCommit : RequestKind::kCommit;
  std::vector<JobRequest> all = {
      {RequestKind::kStream, below, std::nullopt, FilterEnd::kTop},
      {RequestKind::kInsertFilter, below, std::nullopt, FilterEnd::kTop},
  };
  // One that waits beside the chain is a root, which may be mirrored: the target takes the place of
  // the filter and of all below it, and no layer's header can be followed through it.
  if (other.kind != RequestKind::kInsertFilter) {
    all.push_back({RequestKind::kMirror, below, std::nullopt, FilterEnd::kTop});
  }
  for (size_t base = 0; base < below; ++base) {
    all.push_back({RequestKind::kStream, below, base, FilterEnd::kTop});
    all.push_back({commit, below, base, FilterEnd::kTop});
  }
  for (size_t top = below + 1; top < layers; ++top) {
    const bool is_active = top + 1 == layers;
    all.push_back({RequestKind::kStream, top, below, FilterEnd::kBase});
    all.push_back({is_active ? RequestKind::kActiveCommit : RequestKind::kCommit, top, below,
                   FilterEnd::kBase});
    if (below > 0)
      all.push_back({RequestKind::kStreamToBottom, top, below - 1, FilterEnd::kBottom});
  }
  return all;
}

}  // namespace millrace
