#include "tests/support/shadow_counters.h"

#include <algorithm>
#include <string_view>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_tables.h"
#include "millrace/graph/drain_core.h"
#include "millrace/graph/freeze_core.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/node.h"

namespace millrace {
namespace {

class CountingFilter final : public FilterDriver {
 public:
  explicit CountingFilter(ShadowCalls& all) : all_(all) {}
  ~CountingFilter() override { MILLRACE_CHECK(calls_ == 0, "O6: a filter goes with calls in it"); }

  int calls() const { return calls_; }
  bool is_counted_in(const ShadowCalls& all) const { return &all == &all_; }
  std::string_view driver_name() const override { return "pass"; }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    const Call call(*this);
    return FilterDriver::CoRead(offset, target);
  }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    const Call call(*this);
    return FilterDriver::CoWrite(offset, source, flags);
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    const Call call(*this);
    return FilterDriver::CoWriteZeroes(range, flags);
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    const Call call(*this);
    return FilterDriver::CoDiscard(range);
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    const Call call(*this);
    return FilterDriver::CoFlush();
  }

 private:
  class Call {
   public:
    explicit Call(CountingFilter& filter) : filter_(filter) {
      ++filter_.calls_;
      ++filter_.all_.all;
      filter_.all_.most = std::max(filter_.all_.most, ++filter_.all_.now);
    }
    ~Call() {
      --filter_.calls_;
      --filter_.all_.now;
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    CountingFilter& filter_;
  };

  ShadowCalls& all_;
  int calls_ = 0;
};

// Every live node of the graph.
template <typename Look>
absl::Status ForEachNode(Graph& graph, Look look) {
  auto& nodes = GraphInternals::Of(graph).nodes;
  for (Node* node = nodes.front(); node != nullptr; node = nodes.After(*node)) {
    MILLRACE_RETURN_IF_ERROR(look(*node));
  }
  return absl::OkStatus();
}

// From the top down, for as long as `goes_on(upper, lower)`.
template <typename GoesOn>
ShadowLease Walk(Graph& graph, std::string job, NodeId top, GoesOn goes_on) {
  ShadowLease lease{std::move(job)};
  const Node* node = GraphInternals::Of(graph).Resolve(top);
  while (node != nullptr) {
    const Edge* edge = node->FilteredOrBacking();
    if (edge == nullptr || !goes_on(*node, *edge->child)) break;
    lease.links.emplace_back(node->id, edge->child->id);
    node = edge->child;
  }
  return lease;
}

bool IsLeasedFor(const Edge* edge, const std::string& job) {
  return edge != nullptr && edge->lease != nullptr && edge->lease->holder->id == job;
}

}  // namespace

ShadowCounters::ShadowCounters(Graph& graph, JobManager* jobs) : graph_(graph), jobs_(jobs) {
  graph.engine().scheduler().AddInvariantChecker(this);
}

ShadowCounters::~ShadowCounters() { graph_.engine().scheduler().RemoveInvariantChecker(this); }

std::unique_ptr<FilterDriver> ShadowCounters::MakeFilter() {
  return std::make_unique<CountingFilter>(calls_);
}

// With a bottom down to it; else down to what is right above the base, a filter perhaps.
ShadowLease ShadowCounters::LeaseOf(const StreamOptions& options) const {
  return Walk(graph_, options.job.spec.id.value_or(""), options.top,
              [&](const Node& upper, const Node& lower) {
                return upper.id != options.bottom && lower.id != options.base;
              });
}

ShadowLease ShadowCounters::LeaseOf(const CommitOptions& options) const {
  return Walk(graph_, options.job.spec.id.value_or(""), options.top,
              [&](const Node& upper, const Node&) { return upper.id != options.base; });
}

void ShadowCounters::BeginLease(ShadowLease lease) {
  if (lease.job.empty()) return;
  std::erase_if(leases_, [&](const ShadowLease& each) { return each.job == lease.job; });
  leases_.push_back(std::move(lease));
}

// Before it has to end, after which its links are its own to change.
bool ShadowCounters::IsAtWork(const std::string& job) const {
  const absl::StatusOr<JobInfo> info = jobs_->Query(job);
  return info.ok() &&
         (IsJobVerbAccepted(JobVerb::kPause, info->state) || info->state == JobState::kWaiting);
}

size_t ShadowCounters::LinksLeasedFor(const std::optional<std::string>& job) const {
  size_t links = 0;
  ForEachNode(graph_, [&](const Node& node) {
    for (const std::unique_ptr<Edge>& edge : node.children) {
      links += edge->lease != nullptr && (!job || edge->lease->holder->id == *job) ? 1 : 0;
    }
    return absl::OkStatus();
  }).IgnoreError();
  return links;
}

absl::Status ShadowCounters::CheckReleased(const std::optional<std::string>& job) const {
  const size_t links = LinksLeasedFor(job);
  if (links == 0) return absl::OkStatus();
  return absl::InternalError(StrCat("O6: ", links, " links are leased for ",
                                    job ? "job '" + *job + "'" : "jobs", ", which ",
                                    job ? "is" : "are", " over"));
}

absl::Status ShadowCounters::CheckLease(const ShadowLease& lease) const {
  const GraphInternals& internals = GraphInternals::Of(graph_);
  for (const auto& [upper, lower] : lease.links) {
    const Node* node = internals.Resolve(upper);
    const Edge* edge = node == nullptr ? nullptr : node->FilteredOrBacking();
    if (!IsLeasedFor(edge, lease.job) || edge->child->id != lower) {
      return absl::InternalError(StrCat("O6: the link below '", node == nullptr ? "?" : node->name,
                                        "' is not leased for job '", lease.job,
                                        "', which began with it"));
    }
  }
  // One more: that of its own filter.
  const size_t links = LinksLeasedFor(lease.job);
  if (links == lease.links.size() + 1) return absl::OkStatus();
  return absl::InternalError(StrCat("O6: ", links, " links are leased for job '", lease.job,
                                    "', which began with ", lease.links.size(),
                                    " and that of its filter"));
}

absl::Status ShadowCounters::CheckCalls() const {
  int found = 0;
  MILLRACE_RETURN_IF_ERROR(ForEachNode(graph_, [&](Node& node) {
    const auto* filter = dynamic_cast<const CountingFilter*>(node.driver.get());
    if (filter == nullptr || !filter->is_counted_in(calls_)) return absl::OkStatus();
    if (filter->calls() == 0) return absl::OkStatus();
    found += filter->calls();
    int known = 0;
    for (auto* each = node.requests.front(); each != nullptr; each = node.requests.After(*each)) {
      ++known;
    }
    if (filter->calls() > known) {
      return absl::InternalError(StrCat("O6: ", filter->calls(), " calls are in '", node.name,
                                        "', the graph knows of ", known));
    }
    for (const SectionCore* section : node.sections) {
      if (!section->is_granted) continue;
      return absl::InternalError(
          StrCat("O6: ", filter->calls(), " calls are in '", node.name, "', which is drained"));
    }
    return absl::OkStatus();
  }));
  if (found == calls_.now) return absl::OkStatus();
  return absl::InternalError(StrCat("O6: ", calls_.now, " calls are in filters, ", found,
                                    " of them in filters of the graph"));
}

absl::Status ShadowCounters::CheckInvariants() {
  MILLRACE_RETURN_IF_ERROR(CheckCalls());
  std::erase_if(leases_, [&](const ShadowLease& each) { return !IsAtWork(each.job); });
  for (const ShadowLease& lease : leases_) {
    MILLRACE_RETURN_IF_ERROR(CheckLease(lease));
    ++leases_seen_;
  }
  return absl::OkStatus();
}

}  // namespace millrace
