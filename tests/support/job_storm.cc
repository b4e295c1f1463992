#include "tests/support/job_storm.h"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/sync/sleep.h"

namespace millrace {
namespace {

constexpr size_t kLayers = 8;

class Storm {
 public:
  explicit Storm(StormChain& books)
      : books_(books), story_(books.chain_jobs()), random_(books.seed(), "storm") {
    for (size_t layer = 0; layer < story_.chain().nodes.size(); ++layer) expected_.insert(layer);
  }

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    for (int i = 0; i < 24; ++i) {
      MILLRACE_RETURN_IF_ERROR(CoAct());
      MILLRACE_RETURN_IF_ERROR(CoHarvest());
      if (random_.OneIn(2)) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMicrosecond));
    }
    while (!running_.empty()) {
      for (const Running& job : running_) story_.jobs().Resume(job.id).IgnoreError();
      MILLRACE_RETURN_IF_ERROR(CoHarvest());
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMicrosecond));
    }
    const std::vector<size_t> layers = Layers();
    if (std::set<size_t>(layers.begin(), layers.end()) == expected_) return absl::OkStatus();
    return absl::InternalError(StrCat("the chain is not what the jobs say: ", story_.Shape()));
  }

  const JobStormCounts& counts() const { return counts_; }

 private:
  struct Running {
    std::string id;
    std::vector<size_t> removes;  // layers that leave the chain if it succeeds
    bool is_commit = false;
    bool is_cancelled = false;
    size_t top = 0;
    size_t base = 0;  // of a commit
  };

  std::vector<size_t> Layers() MILLRACE_OPENS_VIEW {
    return LayerViews::LayersInUse(story_.chain(), story_.graph());
  }

  absl::Status CoAct() MILLRACE_MAY_SUSPEND {
    switch (random_.Below(8)) {
      case 0:
      case 1:
      case 2:
        return CoStream();
      case 3:
      case 4:
        return CoCommit();
      case 5:
        return CoFilter();
      case 6:
        if (!running_.empty()) {
          story_.jobs().Pause(Any().id).IgnoreError();
          story_.jobs().Resume(Any().id).IgnoreError();
        }
        return absl::OkStatus();
      default:
        if (!running_.empty() && random_.OneIn(3)) {
          Running& job = Any();
          if (story_.jobs().Cancel(job.id, true).ok()) job.is_cancelled = true;
        }
        return absl::OkStatus();
    }
  }

  Running& Any() { return running_[random_.Below(running_.size())]; }

  void Configure(BlockJobOptions& job) {
    // Beside the guests; as it is else, images so small are not flushed before the end.
    if (random_.OneIn(2)) job.copy.flush_bytes = 2048;
    JobSpec& spec = job.spec;
    spec.id = StrCat("job", next_id_++);
    spec.finalizes_automatically = !random_.OneIn(3);
    spec.dismisses_automatically = false;  // so that no result is missed
  }

  // The job runs, or is in somebody's way.
  absl::Status TakeInStart(const absl::Status& started, Running job) {
    if (!started.ok()) return OkIfConflict(started);
    ++counts_.started;
    counts_.beside_others += running_.empty() ? 0 : 1;
    running_.push_back(std::move(job));
    return absl::OkStatus();
  }
  static absl::Status OkIfConflict(const absl::Status& status) {
    return ConflictOf(status) ? absl::OkStatus() : status;
  }

  absl::Status CoStream() MILLRACE_MAY_SUSPEND {
    const std::vector<size_t> layers = Layers();  // from the top down
    if (layers.size() < 2) return absl::OkStatus();
    const size_t top = random_.Below(layers.size() - 1);
    const size_t end = top + 1 + random_.Below(layers.size() - top - 1);
    const bool to_bottom = random_.OneIn(2);
    Running job;
    job.top = layers[top];
    // As of this step: the job takes its proofs before it suspends for the first time.
    for (size_t i = top + 1; i < end + (to_bottom ? 1 : 0); ++i) job.removes.push_back(layers[i]);
    StreamOptions options = to_bottom ? story_.StreamToBottom("", layers[top], layers[end])
                                      : story_.Stream("", layers[top], layers[end]);
    Configure(options.job);
    job.id = *options.job.spec.id;
    return TakeInStart(books_.CoBegin(std::move(options)), std::move(job));
  }

  absl::Status CoCommit() MILLRACE_MAY_SUSPEND {
    const std::vector<size_t> layers = Layers();
    if (layers.size() < 3) return absl::OkStatus();
    const size_t top = 1 + random_.Below(layers.size() - 2);
    const size_t base = top + 1 + random_.Below(layers.size() - top - 1);
    Running job;
    job.is_commit = true;
    job.top = layers[top];
    job.base = layers[base];
    job.removes.assign(layers.begin() + static_cast<ptrdiff_t>(top),
                       layers.begin() + static_cast<ptrdiff_t>(base));
    CommitOptions options = story_.Commit("", layers[top], layers[base]);
    Configure(options.job);
    job.id = *options.job.spec.id;
    return TakeInStart(books_.CoBegin(std::move(options)), std::move(job));
  }

  absl::Status CoFilter() MILLRACE_MAY_SUSPEND {
    if (!filters_.empty() && random_.OneIn(2)) {
      const size_t which = random_.Below(filters_.size());
      const NodeId filter = story_.Find(filters_[which]);
      const absl::Status removed =
          filter.is_valid() ? books_.CoTakeFilter(filter) : absl::OkStatus();
      if (removed.ok()) filters_.erase(filters_.begin() + static_cast<ptrdiff_t>(which));
      return OkIfConflict(removed);
    }
    const std::vector<size_t> layers = Layers();
    const size_t layer = layers[random_.Below(layers.size())];
    const std::string name = StrCat("filter", next_id_++);
    const absl::Status inserted = books_.CoPutFilter(name, story_.node(layer));
    if (inserted.ok()) filters_.push_back(name);
    return OkIfConflict(inserted);
  }

  // Finalizes what waits for it, some of the time, and takes in what has ended.
  absl::Status CoHarvest() MILLRACE_MAY_SUSPEND {
    for (size_t i = 0; i < running_.size();) {
      MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, story_.jobs().Query(running_[i].id));
      if (info.state == JobState::kPending && random_.OneIn(2)) {
        story_.jobs().Finalize(running_[i].id).IgnoreError();
      }
      if (info.state != JobState::kConcluded) {
        ++i;
        continue;
      }
      const bool is_cancelled = running_[i].is_cancelled && absl::IsCancelled(info.status);
      if (!info.status.ok() && !is_cancelled) return info.status;
      ++(info.status.ok() ? counts_.succeeded : counts_.cancelled);
      TakeIn(running_[i], info.status.ok());
      MILLRACE_RETURN_IF_ERROR(story_.jobs().Dismiss(running_[i].id));
      running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
    }
    return absl::OkStatus();
  }

  void TakeIn(const Running& job, bool has_succeeded) {
    if (has_succeeded) {
      for (size_t layer : job.removes) expected_.erase(layer);
      if (job.is_commit) books_.OnCommitted(job.top, job.base);
    } else if (job.is_commit) {
      // Half of the top may be in the base, where layers between them show it too.
      for (size_t layer = job.base; layer < job.top; ++layer) books_.OnWritten(layer);
    }
  }

  StormChain& books_;
  ChainJobs& story_;
  RandomStream random_;
  std::set<size_t> expected_;
  std::vector<Running> running_;
  std::vector<std::string> filters_;
  int next_id_ = 0;
  JobStormCounts counts_;
};

class StormOverStory final : public StormChain {
 public:
  explicit StormOverStory(ChainStory& story) : story_(story) {}
  ChainJobs& chain_jobs() override { return story_; }
  uint64_t seed() const override { return story_.seed(); }
  absl::Status CoBegin(StreamOptions options) override MILLRACE_MAY_SUSPEND {
    return story_.CoStart(std::move(options));
  }
  absl::Status CoBegin(CommitOptions options) override MILLRACE_MAY_SUSPEND {
    return story_.CoStart(std::move(options));
  }
  absl::Status CoPutFilter(const std::string& name, NodeId below) override MILLRACE_MAY_SUSPEND {
    return story_.CoInsertFilter(name, below);
  }
  absl::Status CoTakeFilter(NodeId filter) override MILLRACE_MAY_SUSPEND {
    return story_.CoRemoveFilter(filter);
  }
  void OnCommitted(size_t top, size_t base) override { story_.views().OnCommitted(top, base); }
  void OnWritten(size_t layer) override { story_.views().OnWritten(layer); }

 private:
  ChainStory& story_;
};

}  // namespace

ChainStoryOptions JobStormOptions(bool is_owned) {
  ChainStoryOptions options;
  options.layers = kLayers;
  options.is_owned = is_owned;
  options.guest_rounds = 20;
  return options;
}

absl::Status CoRunJobStorm(ChainStory& story, JobStormCounts* counts) {
  StormOverStory chain(story);
  return CoRunJobStorm(chain, counts);
}

absl::Status CoRunJobStorm(StormChain& chain, JobStormCounts* counts) {
  Storm storm(chain);
  absl::Status status = storm.CoRun();
  if (counts != nullptr) {
    counts->started += storm.counts().started;
    counts->succeeded += storm.counts().succeeded;
    counts->cancelled += storm.counts().cancelled;
    counts->beside_others += storm.counts().beside_others;
  }
  return status;
}

}  // namespace millrace
