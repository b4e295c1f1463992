#include "tests/support/chain_story.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/backing_chain.h"
#include "millrace/graph/graph_view.h"
#include "tests/support/job_harness.h"
#include "tests/support/oracle_names.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kGuestSectors = 2;  // of each of its writes

uint64_t GuestsFirstSector(int round, uint64_t sectors) {
  return (static_cast<uint64_t>(round) * 5) % (sectors - kGuestSectors);
}

// A guest that writes and reads while the jobs live.
absl::Status CoGuest(MemoryChain& chain, TaggedDisk& disk, int rounds) MILLRACE_MAY_SUSPEND {
  for (int i = 0; i < rounds; ++i) {
    const uint64_t sector = GuestsFirstSector(i, disk.sectors());
    MILLRACE_RETURN_IF_ERROR(disk.CoWrite(chain.guest, sector, kGuestSectors));
    MILLRACE_RETURN_IF_ERROR(disk.CoVerify(chain.guest, (sector + 7) % (disk.sectors() - 2), 2));
  }
  return absl::OkStatus();
}

// Sectors that nobody else writes to.
struct Share {
  uint64_t first = 0;
  uint64_t count = 0;
};

class BusyGuest {
 public:
  BusyGuest(ChainStory& story, TaggedDisk& disk, Share share, const bool& is_told)
      : counts_(story.guests()),
        guest_(story.chain().guest),
        disk_(disk),
        share_(share),
        is_told_(is_told) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    for (uint64_t round = 0; !is_told_; ++round) {
      MILLRACE_RETURN_IF_ERROR(CoRound(share_.first + round * 3 % (share_.count - 1)));
      // Others would never see time pass.
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMicrosecond));
    }
    return absl::OkStatus();
  }

 private:
  // Two sectors are written and read meanwhile, and so is some other place, perhaps another
  // guest's; then they must be what was written.
  absl::Status CoRound(uint64_t sector) MILLRACE_MAY_SUSPEND {
    TaskScope requests("requests");
    requests.Spawn("write", [&]() MILLRACE_MAY_SUSPEND {
      return CoCount([&]() MILLRACE_MAY_SUSPEND { return disk_.CoWrite(guest_, sector, 2); });
    });
    for (const uint64_t read : {sector, sector * 7 % (disk_.sectors() - 1)}) {
      requests.Spawn("read", [&, read]() MILLRACE_MAY_SUSPEND {
        return CoCount([&]() MILLRACE_MAY_SUSPEND { return disk_.CoVerify(guest_, read, 2); });
      });
    }
    MILLRACE_RETURN_IF_ERROR(requests.CoJoin());
    return CoCount([&]() MILLRACE_MAY_SUSPEND { return disk_.CoVerify(guest_, sector, 2); });
  }

  template <typename Request>
  absl::Status CoCount(Request request) MILLRACE_MAY_SUSPEND {
    counts_.in_flight_most = std::max(counts_.in_flight_most, ++counts_.in_flight);
    absl::Status status = request();
    --counts_.in_flight;
    ++counts_.requests;
    counts_.reads_beside_writes = disk_.reads_beside_writes();
    return status;
  }

  GuestCounts& counts_;
  Attachment& guest_;
  TaggedDisk& disk_;
  const Share share_;
  const bool& is_told_;
};

// What is broken or lost counts for more than an error that somebody was told of.
void Judge(absl::Status& result, const absl::Status& seen) {
  if (NamesAnOracle(seen) && !NamesAnOracle(result)) result = seen;
  result.Update(seen);
}

absl::Status CoTell(JobWorld& world, const ChainStoryOptions& options, uint64_t seed,
                    ChainStoryBody body) MILLRACE_MAY_SUSPEND {
  MemoryChainOptions layers;
  layers.layers = options.layers;
  layers.is_read_only = options.is_read_only;
  layers.bytes = options.bytes;
  layers.cluster_bytes = options.cluster_bytes;
  layers.bottom_bytes = options.bottom_bytes;
  MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                            CoMakeMemoryChain(world.graph(), layers, options.is_owned));
  TaggedDisk disk(options.bytes / TaggedDisk::kSector);
  FillLayers(chain, disk);
  ChainStory story(world, chain, disk, options, seed);
  if (options.guest_rounds > 0 || options.busy_guests > 0) {
    story.views().OnWritten(options.layers - 1);
  }
  bool is_told = false;
  TaskScope guest("guest");
  if (options.busy_guests == 0) {
    guest.Spawn("guest",
                [&]() MILLRACE_MAY_SUSPEND { return CoGuest(chain, disk, options.guest_rounds); });
  }
  for (int i = 0; i < options.busy_guests; ++i) {
    const uint64_t sectors = disk.sectors() / static_cast<uint64_t>(options.busy_guests);
    const Share share{static_cast<uint64_t>(i) * sectors, sectors};
    guest.Spawn(StrCat("guest", i), [&, share]() MILLRACE_MAY_SUSPEND {
      return BusyGuest(story, disk, share, is_told).CoRun();
    });
  }
  absl::Status result = body(story);
  is_told = true;
  Judge(result, guest.CoJoin());
  world.jobs().CoShutdown();
  story.BeforeLastLook();
  Judge(result, disk.CoVerifyAll(chain.guest));
  Judge(result, story.LastLook(result.ok()));
  Judge(result, world.CoCloseAndLook(chain));
  return result;
}

}  // namespace

const JobEventLog& ChainStory::events() const {
  MILLRACE_CHECK(options_.events != nullptr, "a story that looks at events is told with a log");
  return *options_.events;
}

bool ChainStory::IsGuestsSector(uint64_t sector) const {
  for (int round = 0; round < options_.guest_rounds; ++round) {
    const uint64_t first = GuestsFirstSector(round, options_.bytes / TaggedDisk::kSector);
    if (sector >= first && sector - first < kGuestSectors) return true;
  }
  return false;
}

struct ChainStory::NodeBelow {
  NodeId id;
  std::string name;
  bool is_filter = false;
};

absl::Status ChainStory::CoInsertFilter(std::string name, NodeId below) {
  InsertFilterOptions options;
  options.spec.id = "insert-" + name;
  options.below = below;
  options.filter_name = std::move(name);
  const uint64_t edit = BeginEdit(options.spec, EditOf(options));
  const absl::StatusOr<JobNumber> number =
      CoStartInsertFilter(graph(), jobs(), shadow_.MakeFilter(), options);
  EndStart(edit, number.status());
  return number.ok() ? CoOver(*number) : number.status();
}

absl::Status ChainStory::CoStart(InsertFilterOptions options) {
  const uint64_t edit = BeginEdit(options.spec, EditOf(options));
  const absl::Status status =
      CoStartInsertFilter(graph(), jobs(), shadow_.MakeFilter(), std::move(options)).status();
  EndStart(edit, status);
  return status;
}

absl::Status ChainStory::CoRemoveFilter(NodeId filter) {
  RemoveFilterOptions options;
  options.spec.is_internal = true;
  options.filter = filter;
  const std::vector<NodeBelow> nodes = NodesFrom(filter);
  MILLRACE_ASSIGN_OR_RETURN(JobNumber number, CoStartRemoveFilter(graph(), jobs(), options));
  const absl::Status over = CoOver(number);
  if (!nodes.empty()) OnEdited({ChainEdit::Kind::kNoFilter, nodes.front().name}, over);
  return over;
}

// ---- The order of the jobs ----------------------------------------------------------------------

std::vector<ChainStory::NodeBelow> ChainStory::NodesFrom(NodeId top) {
  std::vector<NodeBelow> nodes;
  GraphView view(graph());
  const absl::StatusOr<NodeView> start = view.Resolve(top);
  if (!start.ok()) return nodes;
  for (const NodeId id : ChainFrom(*start)) {
    const absl::StatusOr<NodeView> node = view.Resolve(id);
    nodes.push_back({id, std::string(node->name()), node->is_filter()});
  }
  return nodes;
}

// A filter that nobody has put there as such is a job's own.
std::string ChainStory::FirstToStay(absl::Span<const NodeBelow> nodes) const {
  for (const NodeBelow& each : nodes) {
    const bool is_users = std::any_of(edits_.begin(), edits_.end(), [&](const StartedEdit& known) {
      return known.edit.edit.kind == ChainEdit::Kind::kFilter && known.edit.edit.upper == each.name;
    });
    if (!each.is_filter || is_users) return each.name;
  }
  return "";
}

ChainEdit ChainStory::EditOf(const StreamOptions& options) {
  ChainEdit edit{ChainEdit::Kind::kStream, ""};
  for (const NodeBelow& each : NodesFrom(options.top)) {
    if (options.base && each.id == *options.base) break;
    if (!each.is_filter && edit.upper.empty()) edit.upper = each.name;
    if (!each.is_filter) edit.lower = each.name;
    if (options.bottom && each.id == *options.bottom) break;
  }
  return edit;
}

ChainEdit ChainStory::EditOf(const CommitOptions& options) {
  return {ChainEdit::Kind::kCommit, FirstToStay(NodesFrom(options.top)),
          FirstToStay(NodesFrom(options.base.value_or(node(0))))};
}

ChainEdit ChainStory::EditOf(const MirrorOptions& options) {
  return {ChainEdit::Kind::kMirror, FirstToStay(NodesFrom(options.source)),
          FirstToStay(NodesFrom(options.target))};
}

ChainEdit ChainStory::EditOf(const InsertFilterOptions& options) {
  return {ChainEdit::Kind::kFilter, options.filter_name, FirstToStay(NodesFrom(options.below))};
}

uint64_t ChainStory::BeginEdit(const JobSpec& spec, ChainEdit edit, bool may_be_moot) {
  edits_.push_back({++edits_begun_, spec.id.value_or(""), {std::move(edit)}, may_be_moot});
  return edits_begun_;
}

void ChainStory::OnEdited(ChainEdit edit, const absl::Status& status) {
  if (!absl::IsCancelled(status)) edits_.push_back({0, "", {std::move(edit), status.ok()}});
}

void ChainStory::EndStart(uint64_t number, const absl::Status& started) {
  const auto edit = std::find_if(edits_.begin(), edits_.end(),
                                 [&](const StartedEdit& each) { return each.number == number; });
  if (!started.ok()) {
    has_refused_start_ = true;
    edits_.erase(edit);
  } else if (edit->job.empty() || edit->edit.edit.upper.empty()) {
    GiveUpOrder();  // it has got a name of its own
  }
}

std::optional<std::vector<JobsEdit>> ChainStory::EditsDone() const {
  std::vector<JobsEdit> done;
  std::vector<JobWitness::End> ends = *job_ends_;
  for (const StartedEdit& each : edits_) {
    done.push_back(each.edit);
    if (each.job.empty()) continue;
    const auto end = std::find_if(ends.begin(), ends.end(), [&](const JobWitness::End& known) {
      return known.id == each.job;
    });
    if (end == ends.end()) return std::nullopt;
    // What fails after the edit (a header that cannot be written) fails the job, not the edit; and
    // a mirror that was told to end in peace ends well, and moves nobody.
    if (absl::IsCancelled(end->status)) {
      done.pop_back();
    } else if (!end->status.ok() || each.may_be_moot) {
      done.back().is_certain = false;
    }
    ends.erase(end);
  }
  if (!ends.empty()) return std::nullopt;
  return done;
}

absl::Status ChainStory::CheckOrder() {
  constexpr size_t kEditsMax = 6;  // whose orders are few
  if (!has_order_ || !job_ends_) return absl::OkStatus();
  const std::optional<std::vector<JobsEdit>> done = EditsDone();
  if (!done || done->size() > kEditsMax) return absl::OkStatus();
  ChainAtEnd end{Shape()};
  if (!has_failed_job_.value_or(true)) {
    for (const size_t layer : LayerViews::LayersInUse(chain_, graph())) {
      const std::string header = chain_.Header(layer);
      end.headers[StrCat("n", layer)] =
          header.starts_with("img-") ? "n" + header.substr(4) : header;
    }
  }
  return CheckSerial(SerialChain(chain_.nodes.size()), *done, end);
}

// ---- Jobs ---------------------------------------------------------------------------------------

// The range is that of the step in which the job claims it, before it suspends.
template <typename Options>
absl::Status ChainStory::CoStartShadowed(Options options) {
  ShadowLease lease = shadow_.LeaseOf(options);
  absl::Status status = ChainJobs::CoStart(std::move(options));
  if (status.ok()) shadow_.BeginLease(std::move(lease));
  return status;
}

absl::Status ChainStory::CoStart(StreamOptions options) {
  const uint64_t edit = BeginEdit(options.job.spec, EditOf(options));
  absl::Status status = CoStartShadowed(std::move(options));
  EndStart(edit, status);
  return status;
}

absl::Status ChainStory::CoStart(MirrorOptions options) {
  const uint64_t edit = BeginEdit(options.job.spec, EditOf(options), true);
  absl::Status status = ChainJobs::CoStart(std::move(options));
  EndStart(edit, status);
  return status;
}

absl::Status ChainStory::CoStart(CommitOptions options) {
  const auto layer_of = [&](NodeId node) {
    const auto found = std::find(chain_.nodes.begin(), chain_.nodes.end(), node);
    return static_cast<size_t>(found - chain_.nodes.begin());
  };
  StartedCommit commit;
  commit.id = options.job.spec.id.value_or("");
  commit.top = layer_of(options.top);
  commit.base = options.base ? layer_of(*options.base) : 0;
  commit.is_active = commit.top + 1 >= chain_.nodes.size();
  // Before it starts: it may be over by the time that is known.
  commits_.push_back(commit);
  const uint64_t edit = BeginEdit(options.job.spec, EditOf(options), commit.is_active);
  absl::Status status = CoStartShadowed(std::move(options));
  EndStart(edit, status);
  if (!status.ok()) {
    std::erase_if(commits_, [&](const StartedCommit& each) { return each.id == commit.id; });
  }
  return status;
}

// Part of the top of a commit that failed may be in the base, where the layers between show it too;
// an active commit moves the guest, so what its base shows is the guest's affair.
void ChainStory::TakeIn(const StartedCommit& commit, bool has_succeeded) {
  if (has_succeeded && !commit.is_active) return views_.OnCommitted(commit.top, commit.base);
  for (size_t layer = commit.base; layer < commit.top; ++layer) views_.OnWritten(layer);
}

std::vector<bool> ChainStory::LayersOfCommits() const {
  std::vector<bool> layers(chain_.images.size(), false);
  for (const StartedCommit& commit : commits_) {
    for (size_t layer = commit.base; layer < commit.top && layer < layers.size(); ++layer) {
      layers[layer] = true;
    }
  }
  return layers;
}

absl::Status ChainStory::CheckReadOnly() {
  if (may_stay_writable_) return absl::OkStatus();
  const std::vector<size_t> layers = LayerViews::LayersInUse(chain_, graph());
  for (size_t layer : layers) {
    if (layer == layers.front() || IsReadOnly(graph(), node(layer))) continue;
    return absl::InternalError(
        StrCat("I19: a layer is writable at the end: n", layer, ", which was read-only"));
  }
  return absl::OkStatus();
}

// A story that went wrong may not have come to say what its commits have done.
// Large images, of which there are five stories, take longer to look at than to tell of.
absl::Status ChainStory::CheckGuestsImage() {
  constexpr uint64_t kBytesOfASmallImage = 64 << 10;
  constexpr uint64_t kStoriesPerLook = 16;
  if (options_.bytes > kBytesOfASmallImage && seed_ % kStoriesPerLook != 0) return absl::OkStatus();
  return LayerViews::CheckGuests(chain_, graph(), disk_);
}

absl::Status ChainStory::LastLook(bool went_well) {
  absl::Status status = seen_;
  status.Update(shadow_.CheckInvariants());
  status.Update(shadow_.CheckReleased(std::nullopt));
  const std::vector<bool> none(chain_.images.size(), false);
  status.Update(views_.CheckShown(chain_, graph(), went_well ? none : LayersOfCommits()));
  status.Update(CheckGuestsImage());
  const bool may_be_behind = has_failed_job_.value_or(!went_well);
  if (!may_be_behind) status.Update(LayerViews::CheckHeaders(chain_, graph()));
  status.Update(CheckOrder());
  if (may_be_behind) return status;
  if (has_failed_job_ && options_.is_read_only) status.Update(CheckReadOnly());
  return status;
}

absl::Status ChainStory::CoOver(JobKey key) {
  absl::Status status = jobs().CoWaitUntilOver(key);
  const auto commit = std::find_if(
      commits_.begin(), commits_.end(),
      [&](const StartedCommit& each) { return !key.is_number() && each.id == key.id(); });
  if (commit != commits_.end()) {
    TakeIn(*commit, status.ok());
    commits_.erase(commit);
  }
  seen_.Update(views_.CheckShown(chain_, graph(), LayersOfCommits()));
  seen_.Update(CheckGuestsImage());
  seen_.Update(shadow_.CheckInvariants());
  const absl::StatusOr<JobInfo> info = jobs().Query(key);
  if (!key.is_number() && (!info.ok() || info->state == JobState::kConcluded)) {
    seen_.Update(shadow_.CheckReleased(std::string(key.id())));
  }
  return status;
}

absl::Status ChainStory::CoFinalize(JobKey key) {
  for (;;) {
    MILLRACE_ASSIGN_OR_RETURN(const JobInfo info, jobs().Query(key));
    if (info.state == JobState::kPending) return jobs().Finalize(key);
    if (info.state == JobState::kConcluded) return absl::FailedPreconditionError("it has ended");
    MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
  }
}

absl::Status CoTellChainStory(Engine& engine, const ChainStoryOptions& options, uint64_t seed,
                              ChainStoryBody body) {
  if (options.events != nullptr) options.events->Clear();
  JobWorld world(engine);
  return CoTell(world, options, seed, body);
}

void TellChainStory(const ChainStoryOptions& options, ChainStoryBody body) {
  Explore(
      [&](Engine& engine, uint64_t seed) {
        absl::Status status = engine.Run(
            [&]() MILLRACE_MAY_SUSPEND { return CoTellChainStory(engine, options, seed, body); });
        EXPECT_TRUE(status.ok()) << status;
      },
      options.cost, {}, options.events);
}

}  // namespace millrace
