#include "tests/scenarios/pairs/pair_rules.h"

namespace millrace {
namespace {

// Layers, both ends included; none if the lowest is above the highest.
struct Layers {
  size_t lowest = 1;
  size_t highest = 0;

  bool Contain(size_t layer) const { return lowest <= layer && layer <= highest; }
  bool Meet(const Layers& other) const {
    return lowest <= highest && other.lowest <= other.highest && lowest <= other.highest &&
           other.lowest <= highest;
  }
};

bool IsStream(const JobRequest& request) {
  return request.kind == RequestKind::kStream || request.kind == RequestKind::kStreamToBottom;
}

bool IsCommit(const JobRequest& request) {
  return request.kind == RequestKind::kCommit || request.kind == RequestKind::kActiveCommit;
}

// What the job owns: everything there is claimed, and the links between are leased. A stream does
// not own its base; a commit does.
Layers Owned(const JobRequest& job) {
  switch (job.kind) {
    case RequestKind::kStream:
    case RequestKind::kStreamToBottom:
      return {job.base ? *job.base + 1 : 0, job.top};
    case RequestKind::kCommit:
    case RequestKind::kActiveCommit:
      return {*job.base, job.top};
    case RequestKind::kMirror:
      return {job.top, job.top};
    case RequestKind::kInsertFilter:
      break;
  }
  return {};
}

// Where jobs that take layers away, or put them together, may not come.
Layers ClosedToChainJobs(const JobRequest& job) {
  if (job.kind == RequestKind::kInsertFilter) return {job.top, job.top};
  return Owned(job);
}

// Whether the job's filter, which stands on its top, is in the chain, and not beside it.
bool HasFilterInPlace(const JobRequest& job) { return job.kind != RequestKind::kInsertFilter; }

// A filter on the lowest layer that is walked is met too if that layer is the user's base, which
// the walk goes down to, and not the user's bottom, at which it ends.
bool MeetsFilter(const JobRequest& first, const JobRequest& second) {
  if (!HasFilterInPlace(first)) return false;
  if (second.kind == RequestKind::kStream && !second.base) return first.top < second.top;
  const bool ends_at_layer = second.kind == RequestKind::kStreamToBottom;
  const size_t lowest = ends_at_layer ? *second.base + 1 : *second.base;
  return lowest <= first.top && first.top < second.top;
}

bool MayStream(const JobRequest& first, const JobRequest& second, size_t layers) {
  // A commit of what lies below claims the guest's layer too.
  if (first.kind == RequestKind::kCommit && second.top + 1 == layers) return false;
  return !ClosedToChainJobs(first).Meet(Owned(second)) && !MeetsFilter(first, second);
}

bool MayCommit(const JobRequest& first, const JobRequest& second, size_t layers) {
  // Of two commits the guest's layer is the source; and nothing is a root below a job's filter, be
  // that in its place or beside.
  if (IsCommit(first) || first.top + 1 == layers) return false;
  // Whoever stands on the top will have its backing file's name rewritten.
  const bool has_overlay = second.kind == RequestKind::kCommit;
  const Layers looked_at = {*second.base, second.top + (has_overlay ? 1 : 0)};
  return !ClosedToChainJobs(first).Meet(looked_at) && !MeetsFilter(first, second);
}

// Named by a filter, a stream's base is the only end that may be another job's: it is not owned.
// And whoever stands on the filter may get one more.
bool MayNameFilter(const JobRequest& first, const JobRequest& second, size_t layers) {
  if (!HasFilterInPlace(first)) return false;
  if (second.kind == RequestKind::kInsertFilter) return true;
  if (second.kind != RequestKind::kStream || second.names_filter != FilterEnd::kBase) return false;
  return !(first.kind == RequestKind::kCommit && second.top + 1 == layers);
}

}  // namespace

bool MayStandBeside(const JobRequest& first, const JobRequest& second, size_t layers) {
  if (second.names_filter != FilterEnd::kNone) return MayNameFilter(first, second, layers);
  if (IsStream(second)) return MayStream(first, second, layers);
  if (IsCommit(second)) return MayCommit(first, second, layers);
  if (second.kind == RequestKind::kInsertFilter) return !Owned(first).Contain(second.top);
  // A mirror: of the guest's layer, or of the filter that stands on it; either is a root.
  return first.kind != RequestKind::kCommit && first.top != second.top;
}

}  // namespace millrace
