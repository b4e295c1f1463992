#include "tests/support/job_crash_story.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/strings/str_join.h"
#include "millrace/engine/base/check.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/coroutine/stack_pool.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/image_tools.h"
#include "tests/support/image_examiner.h"
#include "tests/support/sector_history.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr uint64_t kDiskSector = TaggedDisk::kSector;
// Of examined states kept at a time.
constexpr size_t kStatesMax = 20000;

absl::StatusOr<Attachment> AttachGuest(Graph& graph, NodeId node, bool resizes = false)
    MILLRACE_OPENS_VIEW {
  AttachmentOptions options;
  options.holder = MakeHolder("guest", "block device");
  options.device_name = "guest";
  options.permissions.used = kConsistentRead | kWrite;
  if (resizes) options.permissions.used = options.permissions.used | kResize;
  options.permissions.shared = kConsistentRead | kWriteUnchanged | kResize;
  return Attachment::Attach(graph, node, options);
}

absl::StatusOr<std::vector<uint64_t>> CoReadValues(Attachment& guest) MILLRACE_MAY_SUSPEND {
  std::vector<uint8_t> content(guest.bytes());
  MILLRACE_RETURN_IF_ERROR(guest.CoRead(0, IoVector(absl::MakeSpan(content))));
  std::vector<uint64_t> values(content.size() / kDiskSector);
  for (uint64_t i = 0; i < values.size(); ++i)
    values[i] = SectorValue(i, &content[i * kDiskSector]);
  return values;
}

absl::Status Annotate(const absl::Status& status, std::string_view where) {
  return absl::Status(status.code(), ToAbsl(StrCat(where, ": ", FromAbsl(status.message()))));
}

// ---- The guest ---------------------------------------------------------------------------------

// Writes, zeroes, discards and flushes as the seed says, and enters it all in the history.
class CrashGuest {
 public:
  CrashGuest(const CrashCase& crash_case, uint64_t seed, Attachment& disk, const CrashLog& log,
             SectorHistory& history)
      : case_(crash_case), random_(seed, "guest"), disk_(disk), log_(log), history_(history) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    for (uint64_t i = 0; i < case_.guest_operations && !is_stopped_; ++i) {
      MILLRACE_RETURN_IF_ERROR(CoOperation());
      // Time does not pass while anybody has something to do: this waits for the job to wait.
      if (random_.OneIn(3)) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMillisecond));
    }
    return absl::OkStatus();
  }
  void Stop() { is_stopped_ = true; }
  // When the jobs are over: where the disk is now must be as good.
  absl::Status CoEpilogue() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(CoWrite());
    MILLRACE_RETURN_IF_ERROR(CoFlush());
    return CoWrite();
  }

 private:
  SectorHistory::Moment Now() { return history_.Now(2 * log_.now()); }
  absl::Status CoOperation() MILLRACE_MAY_SUSPEND {
    switch (random_.Below(case_.job == CrashJob::kNone ? 8 : 7)) {
      case 0:
        return CoZero();
      case 1:
        return CoDiscard();
      case 2:
      case 3:
        return CoFlush();
      case 7:
        return disk_.CoResize(disk_.bytes() + kDiskSector * random_.Below(64));
      default:
        return CoWrite();
    }
  }
  struct Run {
    uint64_t first;
    uint64_t count;
    ByteRange range() const { return ByteRange(first * kDiskSector, count * kDiskSector); }
  };
  Run ChooseRun() {
    const uint64_t sectors = disk_.bytes() / kDiskSector;
    const uint64_t first = random_.Below(sectors);
    return {first, std::min(1 + random_.Below(6), sectors - first)};
  }
  void Add(const Run& run, uint64_t value, SectorHistory::Moment began) {
    const SectorHistory::Moment ended = Now();
    for (uint64_t i = 0; i < run.count; ++i) history_.Add(run.first + i, value, began, ended);
  }
  absl::Status CoWrite() MILLRACE_MAY_SUSPEND {
    const Run run = ChooseRun();
    const uint32_t version = next_version_++;
    std::vector<uint8_t> data;
    for (uint64_t i = 0; i < run.count; ++i) {
      const std::vector<uint8_t> content = TaggedDisk::Content(run.first + i, version);
      data.insert(data.end(), content.begin(), content.end());
    }
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(
        disk_.CoWrite(run.first * kDiskSector, IoVector::OfConst(data.data(), data.size())));
    Add(run, version, began);
    return absl::OkStatus();
  }
  absl::Status CoZero() MILLRACE_MAY_SUSPEND {
    const Run run = ChooseRun();
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(disk_.CoWriteZeroes(run.range(), {.may_unmap = random_.OneIn(2)}));
    Add(run, 0, began);
    return absl::OkStatus();
  }
  // Old or zero: what was not forgotten is still allowed.
  absl::Status CoDiscard() MILLRACE_MAY_SUSPEND {
    const Run run = ChooseRun();
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(disk_.CoDiscard(run.range()));
    Add(run, 0, began);
    std::vector<uint8_t> content(run.count * kDiskSector);
    MILLRACE_RETURN_IF_ERROR(
        disk_.CoRead(run.first * kDiskSector, IoVector(absl::MakeSpan(content))));
    const SectorHistory::Moment ended = Now();
    for (uint64_t i = 0; i < run.count; ++i) {
      const uint64_t value = SectorValue(run.first + i, &content[i * kDiskSector]);
      history_.Add(run.first + i, value, began, ended);
    }
    return absl::OkStatus();
  }
  absl::Status CoFlush() MILLRACE_MAY_SUSPEND {
    const SectorHistory::Moment began = Now();
    MILLRACE_RETURN_IF_ERROR(disk_.CoFlush());
    history_.AddFlush(began, Now());
    return absl::OkStatus();
  }

  const CrashCase& case_;
  RandomStream random_;
  Attachment& disk_;
  const CrashLog& log_;
  SectorHistory& history_;
  uint32_t next_version_ = 1000;  // those below are the images' own
  bool is_stopped_ = false;
};

// ---- The story ---------------------------------------------------------------------------------

class Story {
 public:
  Story(const CrashCase& crash_case, uint64_t seed, const JobCrashOptions& options,
        JobCrashCounts& counts)
      : case_(crash_case),
        root_path_(crash_case.root_path()),
        moved_path_(crash_case.moved_path()),
        seed_(seed),
        options_(options),
        counts_(counts),
        initial_(case_.sectors + kGrowthMax, 0),
        random_(seed, "crash story") {}

  absl::Status Run() {
    MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry_));
    MILLRACE_RETURN_IF_ERROR(MakeImages());
    RandomDecider schedule(seed_, {.buggify_one_in = seed_ % 3 == 0 ? 8u : 0u},
                           RandomDecider::Recording::kOff);
    CrashLog log(random_.OneIn(4) ? nullptr : &schedule);
    SectorHistory history(initial_);
    MILLRACE_RETURN_IF_ERROR(RunJob(log, history));
    return Verify(log, history);
  }

 private:
  static constexpr uint64_t kGrowthMax = 12 * 64;
  using States = absl::flat_hash_map<uint64_t, std::unique_ptr<ExaminedImage>>;
  // Of one disk, by number: see paths_.
  using Files = std::vector<const ExaminedImage*>;
  struct End {
    std::vector<std::string> chain;  // from the guest's disk down
    std::vector<uint64_t> sectors;
  };

  template <typename Body>
  absl::Status InEngine(SimulatedDisk* disk, Decider* decider, Body body) {
    const std::unique_ptr<Engine> engine =
        SimulatedEngine({.decider = decider, .stacks = &stacks_, .disk = disk});
    return engine->Run([&]() MILLRACE_MAY_SUSPEND { return body(*engine); });
  }
  absl::Status MakeImages();
  absl::Status CoMakeImage(Graph& graph, size_t layer) MILLRACE_MAY_SUSPEND;
  absl::Status RunJob(CrashLog& log, SectorHistory& history);
  absl::Status CoRunJob(Engine& engine, CrashLog& log, SectorHistory& history) MILLRACE_MAY_SUSPEND;
  absl::Status CoUseChain(JobWorld& world, const OpenCrashCase& open, Attachment& guest,
                          CrashLog& log, SectorHistory& history) MILLRACE_MAY_SUSPEND;

  absl::Status Verify(const CrashLog& log, const SectorHistory& history);
  void LearnAllowed(const SectorHistory& history, size_t point);
  absl::Status CoVerifyImage(Engine& engine, const CrashImages& images,
                             const std::string& root_path) MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Files> CoExamine(Engine& engine, const CrashImages& images) MILLRACE_MAY_SUSPEND;
  // Whether no earlier image of this run looks the same to a user.
  bool IsNewContent(const Files& files, const std::string& root_path);
  absl::StatusOr<std::vector<size_t>> ChainOf(const Files& files,
                                              const std::string& root_path) const;
  static std::vector<uint64_t> View(const Files& files, const std::vector<size_t>& chain);

  absl::Status RestartChosen(size_t point);
  absl::Status Restart(const CrashedDisk& crashed);
  absl::Status CoRestart(Engine& engine, const CrashedDisk& crashed) MILLRACE_MAY_SUSPEND;
  absl::Status CoRestartJobs(JobWorld& world, const OpenCrashCase& open, Attachment& guest,
                             const CrashedDisk& crashed) MILLRACE_MAY_SUSPEND;
  static absl::Status SameSectors(const std::vector<uint64_t>& found,
                                  const std::vector<uint64_t>& wanted, std::string_view what);
  absl::StatusOr<End> LookAtEnd(const SimulatedDisk& disk);

  const CrashCase& case_;
  const std::string root_path_;
  const std::string moved_path_;
  const uint64_t seed_;
  const JobCrashOptions& options_;
  JobCrashCounts& counts_;
  DriverRegistry registry_;
  StackPool stacks_;
  SimulatedDisk disk_;
  std::vector<uint64_t> initial_;  // what the guest's disk shows before the run
  uint32_t next_version_ = 1;
  RandomStream random_;
  End end_;  // without a crash
  std::vector<std::string> paths_;
  std::vector<std::vector<uint64_t>> allowed_;  // by sector, at the current point
  std::vector<States> states_;                  // by file
  absl::flat_hash_set<uint64_t> seen_;
  absl::flat_hash_set<size_t> contents_;
  std::vector<CrashedDisk> chosen_;
};

absl::Status Story::MakeImages() {
  return InEngine(&disk_, nullptr, [&](Engine& engine) MILLRACE_MAY_SUSPEND {
    Graph graph(engine);
    absl::Status result;
    for (size_t layer = 0; layer < case_.layers && result.ok(); ++layer) {
      result = CoMakeImage(graph, layer);
    }
    if (result.ok() && case_.job == CrashJob::kMirror) {
      CreateImageOptions create;
      create.path = CrashCase::kTargetPath;
      create.qcow2 = case_.images[0];
      create.qcow2.bytes = case_.sectors * kDiskSector;
      result = CoCreateImage(graph, registry_, create);
    }
    graph.CoClose();
    return result;
  });
}

absl::Status Story::CoMakeImage(Graph& graph, size_t layer) {
  CreateImageOptions create;
  create.path = CrashCase::PathOf(layer);
  create.qcow2 = case_.images[layer];
  MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph, registry_, create));
  OpenImageOptions open;
  open.path = create.path;
  open.format = "qcow2";
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, registry_, open));
  absl::StatusOr<Attachment> writer = AttachGuest(graph, image.top());
  absl::Status result = writer.status();
  const uint64_t sectors = create.qcow2.bytes / kDiskSector;
  for (uint64_t i = 0; i < 3 + random_.Below(6) && result.ok(); ++i) {
    const uint64_t sector = random_.Below(sectors);
    const uint32_t version = next_version_++;
    const std::vector<uint8_t> content = TaggedDisk::Content(sector, version);
    result = writer->CoWrite(sector * kDiskSector, IoVector::OfConst(content.data(), kDiskSector));
    initial_[sector] = version;
  }
  if (writer.ok()) writer->CoDetach();
  for (Attachment& hold : image.holds) hold.CoDetach();
  return result;
}

absl::Status Story::RunJob(CrashLog& log, SectorHistory& history) {
  const std::unique_ptr<SimulatedDisk> disk = disk_.Clone();
  MILLRACE_RETURN_IF_ERROR(InEngine(disk.get(), &log, [&](Engine& engine) MILLRACE_MAY_SUSPEND {
    return CoRunJob(engine, log, history);
  }));
  ++counts_["runs"];
  MILLRACE_ASSIGN_OR_RETURN(end_, LookAtEnd(*disk));
  return absl::OkStatus();
}

absl::Status Story::CoRunJob(Engine& engine, CrashLog& log, SectorHistory& history) {
  JobWorld world(engine);
  log.Watch(*engine.simulated_io());
  absl::StatusOr<OpenCrashCase> open =
      CoOpenCrashCase(world.graph(), registry_, case_, case_.root_path());
  absl::Status result = open.status();
  if (result.ok()) {
    absl::StatusOr<Attachment> guest =
        AttachGuest(world.graph(), open->chain.top(), case_.job == CrashJob::kNone);
    result = guest.status();
    if (result.ok()) {
      const NodeId moved = open->MovedNode(world.graph(), case_);
      bool has_moved = false;
      log.SetTag([&]() -> uint64_t { return has_moved |= guest->node() == moved; });
      result = CoUseChain(world, *open, *guest, log, history);
      guest->CoDetach();
      log.SetTag([has_moved] { return uint64_t{has_moved}; });
    }
    open->CoClose();
  }
  world.jobs().CoShutdown();
  world.graph().CoClose();
  log.Unwatch();
  return result;
}

absl::Status Story::CoUseChain(JobWorld& world, const OpenCrashCase& open, Attachment& guest,
                               CrashLog& log, SectorHistory& history) {
  CrashGuest user(case_, seed_, guest, log, history);
  TaskScope scope("guest");
  if (case_.has_guest) {
    scope.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return user.CoRun(); });
  }
  absl::Status result = CoRunCrashJobs(world, case_, open);
  if (case_.job != CrashJob::kNone) user.Stop();
  result.Update(scope.CoJoin());
  if (result.ok() && case_.has_guest) result = user.CoEpilogue();
  return result;
}

// ---- What each crash leaves --------------------------------------------------------------------

absl::Status Story::Verify(const CrashLog& log, const SectorHistory& history) {
  CrashImages images(log, options_.images, seed_);
  MILLRACE_CHECK(images.files() == paths_.size(),
                 "the log's files are those of the disk, in order");
  const std::unique_ptr<Engine> engine = SimulatedEngine(nullptr, &stacks_);
  counts_["crash points"] += log.points().size();
  for (size_t point = 0; point < log.points().size(); ++point) {
    images.MoveTo(point);
    LearnAllowed(history, point);
    const std::string& root = log.points()[point].tag == 0 ? root_path_ : moved_path_;
    const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      for (size_t subset = 0; subset < images.subsets(); ++subset) {
        images.Choose(subset);
        const absl::Status verified = CoVerifyImage(*engine, images, root);
        if (!verified.ok()) return Annotate(verified, StrCat("subset ", subset));
      }
      return absl::OkStatus();
    });
    if (!status.ok()) return Annotate(status, StrCat("crash point ", point));
    MILLRACE_RETURN_IF_ERROR(RestartChosen(point));
  }
  counts_["crash images"] += seen_.size();
  return absl::OkStatus();
}

void Story::LearnAllowed(const SectorHistory& history, size_t point) {
  allowed_.resize(history.sectors());
  for (uint64_t sector = 0; sector < history.sectors(); ++sector) {
    allowed_[sector] = history.AllowedValues(sector, 2 * point + 1);
  }
}

absl::Status Story::CoVerifyImage(Engine& engine, const CrashImages& images,
                                  const std::string& root_path) {
  ++counts_["images verified"];
  const bool is_new = seen_.insert(images.Key()).second;
  MILLRACE_ASSIGN_OR_RETURN(const Files files, CoExamine(engine, images));
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<size_t> chain, ChainOf(files, root_path));
  std::vector<uint64_t> sectors = View(files, chain);
  for (uint64_t i = 0; i < allowed_.size(); ++i) {
    const uint64_t value = i < sectors.size() ? sectors[i] : 0;
    const std::vector<uint64_t>& allowed = allowed_[i];
    if (std::find(allowed.begin(), allowed.end(), value) == allowed.end()) {
      return absl::DataLossError(StrCat("sector ", i, " of '", root_path, "' holds version ",
                                        static_cast<int64_t>(value), ", not ", allowed.front()));
    }
  }
  if (!is_new) return absl::OkStatus();
  const bool is_chosen = options_.restart_one_in > 0 && random_.OneIn(options_.restart_one_in);
  const bool is_restarted =
      is_chosen || (options_.restarts_each_content && IsNewContent(files, root_path));
  const bool is_sample = options_.sample_one_in > 0 && random_.OneIn(options_.sample_one_in);
  if (!is_restarted && !is_sample) return absl::OkStatus();
  CrashedDisk disk{paths_, {}, root_path, std::move(sectors)};
  for (size_t file = 0; file < images.files(); ++file) disk.files.push_back(images.Content(file));
  if (is_sample) MILLRACE_RETURN_IF_ERROR(options_.on_sample(disk));
  if (is_restarted) chosen_.push_back(std::move(disk));
  return absl::OkStatus();
}

bool Story::IsNewContent(const Files& files, const std::string& root_path) {
  size_t key = absl::HashOf(root_path);
  for (const ExaminedImage* file : files) key = absl::HashOf(key, file->ContentKey());
  const bool is_new = contents_.insert(key).second;
  counts_["contents"] += is_new ? 1 : 0;
  return is_new;
}

absl::StatusOr<Story::Files> Story::CoExamine(Engine& engine, const CrashImages& images) {
  Files files;
  states_.resize(images.files());
  for (size_t file = 0; file < images.files(); ++file) {
    States& states = states_[file];
    if (states.size() > kStatesMax) states.clear();
    std::unique_ptr<ExaminedImage>& state = states[images.Key(file)];
    if (state == nullptr) {
      ++counts_["file states"];
      state = std::make_unique<ExaminedImage>(CoExamineImage(engine, images.Content(file)));
      if (!state->status.ok()) return Annotate(state->status, paths_[file]);
    }
    files.push_back(state.get());
  }
  return files;
}

absl::StatusOr<std::vector<size_t>> Story::ChainOf(const Files& files,
                                                   const std::string& root_path) const {
  std::vector<size_t> chain;
  for (std::string path = root_path; !path.empty(); path = files[chain.back()]->backing_filename) {
    const auto found = std::find(paths_.begin(), paths_.end(), path);
    if (found == paths_.end()) {
      return absl::DataLossError(StrCat("a header names '", path, "', which does not exist"));
    }
    chain.push_back(static_cast<size_t>(found - paths_.begin()));
    if (chain.size() > files.size()) return absl::DataLossError("the headers form a loop");
  }
  return chain;
}

std::vector<uint64_t> Story::View(const Files& files, const std::vector<size_t>& chain) {
  std::vector<uint64_t> sectors = files[chain.front()]->sectors;
  for (uint64_t i = 0; i < sectors.size(); ++i) {
    for (size_t depth = 1; sectors[i] == kSectorFromBelow; ++depth) {
      const bool has_layer = depth < chain.size() && i < files[chain[depth]]->sectors.size();
      sectors[i] = has_layer ? files[chain[depth]]->sectors[i] : 0;
    }
  }
  return sectors;
}

// ---- The library on some of them ---------------------------------------------------------------

absl::Status Story::RestartChosen(size_t point) {
  for (const CrashedDisk& crashed : chosen_) {
    ++counts_["restarts"];
    const absl::Status status = Restart(crashed);
    if (!status.ok()) return Annotate(status, StrCat("crash point ", point, ", restarted"));
  }
  chosen_.clear();
  return absl::OkStatus();
}

absl::Status Story::Restart(const CrashedDisk& crashed) {
  SimulatedDisk disk;
  for (size_t file = 0; file < crashed.files.size(); ++file) {
    disk.Put(crashed.paths[file], "").Reset(crashed.files[file]);
  }
  MILLRACE_RETURN_IF_ERROR(InEngine(&disk, nullptr, [&](Engine& engine) MILLRACE_MAY_SUSPEND {
    return CoRestart(engine, crashed);
  }));
  MILLRACE_ASSIGN_OR_RETURN(const End end, LookAtEnd(disk));
  if (end.chain != end_.chain) {
    return absl::InternalError(StrCat("the chain is ", absl::StrJoin(end.chain, " <- "),
                                      " at the end, not ", absl::StrJoin(end_.chain, " <- ")));
  }
  return SameSectors(end.sectors, crashed.sectors, "the headers alone show");
}

absl::Status Story::CoRestart(Engine& engine, const CrashedDisk& crashed) {
  JobWorld world(engine);
  absl::StatusOr<OpenCrashCase> open =
      CoOpenCrashCase(world.graph(), registry_, case_, crashed.root_path);
  absl::Status result = open.status();
  if (result.ok()) {
    absl::StatusOr<Attachment> guest =
        AttachGuest(world.graph(), open->chain.top(), case_.job == CrashJob::kNone);
    result = guest.status();
    if (result.ok()) {
      result = CoRestartJobs(world, *open, *guest, crashed);
      guest->CoDetach();
    }
    open->CoClose();
  }
  world.jobs().CoShutdown();
  world.graph().CoClose();
  return result;
}

absl::Status Story::CoRestartJobs(JobWorld& world, const OpenCrashCase& open, Attachment& guest,
                                  const CrashedDisk& crashed) {
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint64_t> before, CoReadValues(guest));
  MILLRACE_RETURN_IF_ERROR(SameSectors(before, crashed.sectors, "the library reads"));
  // Once the disk has moved there is nothing to start again.
  if (crashed.root_path == root_path_) {
    MILLRACE_RETURN_IF_ERROR(CoRunCrashJobs(world, case_, open));
  }
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint64_t> after, CoReadValues(guest));
  MILLRACE_RETURN_IF_ERROR(SameSectors(after, crashed.sectors, "after the job the guest reads"));
  return world.graph().CheckInvariants();
}

absl::Status Story::SameSectors(const std::vector<uint64_t>& found,
                                const std::vector<uint64_t>& wanted, std::string_view what) {
  if (found == wanted) return absl::OkStatus();
  const auto where = std::mismatch(found.begin(), found.end(), wanted.begin(), wanted.end());
  return absl::InternalError(StrCat(what, " something else from sector ",
                                    where.first - found.begin(), " on (", found.size(),
                                    " sectors, not ", wanted.size(), ")"));
}

// The disk when everything is over and closed, by the headers alone.
absl::StatusOr<Story::End> Story::LookAtEnd(const SimulatedDisk& disk) {
  paths_ = disk.Paths();
  std::vector<ExaminedImage> examined;
  MILLRACE_RETURN_IF_ERROR(InEngine(nullptr, nullptr, [&](Engine& engine) MILLRACE_MAY_SUSPEND {
    for (const std::string& path : paths_) {
      examined.push_back(CoExamineImage(engine, disk.Find(path)->current()));
      if (!examined.back().status.ok()) return Annotate(examined.back().status, path);
    }
    return absl::OkStatus();
  }));
  Files files;
  for (const ExaminedImage& each : examined) files.push_back(&each);
  MILLRACE_ASSIGN_OR_RETURN(const std::vector<size_t> chain, ChainOf(files, moved_path_));
  End end;
  for (size_t file : chain) end.chain.push_back(paths_[file]);
  end.sectors = View(files, chain);
  return end;
}

}  // namespace

absl::Status RunJobCrashStory(const CrashCase& crash_case, uint64_t seed,
                              const JobCrashOptions& options, JobCrashCounts& counts) {
  Story story(crash_case, seed, options, counts);
  const absl::Status status = story.Run();
  return status.ok() ? status : Annotate(status, crash_case.Describe());
}

}  // namespace millrace
