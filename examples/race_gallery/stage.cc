#include "examples/race_gallery/stage.h"

#include <algorithm>

#include "examples/scenario_kit/run_notes.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/open_node.h"

namespace millrace::gallery {

Stage::Stage(Engine& engine, const EventLog& events, const StageOptions& options)
    : engine_(engine),
      events_(events),
      options_(options),
      graph_(engine),
      committer_(graph_),
      jobs_(std::in_place, engine, committer_) {}

// ---- Oracles ------------------------------------------------------------------------------------

void Stage::Fail(std::string_view invariant, std::string text) {
  if (std::exchange(has_failed_, true)) return;
  if (on_failure_) on_failure_(invariant, text);
}

void Stage::LookAtGraph() {
  NoteGraph(graph_);
  if (jobs_) NoteJobs(engine_.scheduler(), *jobs_);
  RequireSoundGraph("now");
}

void Stage::RequireSoundGraph(std::string_view when) {
  const absl::Status status = graph_.CheckInvariants();
  if (status.ok()) return;
  // "G7: node 'n0': it is drained for two owners at once"
  const std::string words(status.message());
  const size_t colon = words.find(": ");
  if (colon == std::string::npos) return Fail("G", StrCat("the graph ", when, ": ", words));
  Fail(words.substr(0, colon), StrCat("the graph ", when, ": ", words.substr(colon + 2)));
}

void Stage::FailAsEndless() {
  std::string text = StrCat("no end after ", options_.steps_max, " steps");
  if (jobs_) {
    for (const JobInfo& job : jobs_->QueryAll()) {
      StrAppend(&text, ", and job '", job.id, "' is ", JobStateName(job.state));
    }
  }
  Fail("I11", std::move(text));
}

void Stage::RequireOk(const absl::Status& status, std::string_view invariant,
                      std::string_view what) {
  if (status.ok()) return;
  const std::string words(status.message());
  Fail(invariant, StrCat(what, ": ", absl::StatusCodeToString(status.code()), ": ", words));
}

void Stage::RequireShape(std::initializer_list<std::string_view> allowed) {
  const std::string shape = Shape();
  if (std::find(allowed.begin(), allowed.end(), shape) != allowed.end()) return;
  std::string words;
  for (std::string_view each : allowed) StrAppend(&words, words.empty() ? "" : " or ", each);
  Fail("I15", StrCat("the chain is ", shape, ", allowed is ", words));
}

void Stage::RequireHeaders() {
  for (size_t layer = 0; layer < chain_.images.size(); ++layer) {
    const BackingReference& below = chain_.images[layer]->backing;
    const bool can_be_opened = below == BackingReference() || (below.filename.starts_with("img-") &&
                                                               below.format == "memory-overlay");
    Require(can_be_opened, "I5",
            StrCat("the header of n", layer, " names '", below.filename, "' in format '",
                   below.format, "', which nobody can open"));
  }
}

size_t Stage::Draw(size_t count, std::string_view what) {
  std::vector<std::string> numbers;
  for (size_t i = 0; i < count; ++i) numbers.push_back(StrCat(i));
  std::vector<Option> options;
  for (const std::string& number : numbers) options.push_back({0, what, number});
  return engine_.scheduler().Choose(ChoiceKind::kData, options);
}

void Stage::CutPower() {
  // By its place in the file and, of several writes there, its age: so a script can name it.
  disk_left_ = engine_.simulated_io()->Crash([this](const UnflushedPiece& piece) {
    const std::string name = StrCat("sector ", piece.offset / TaggedDisk::kSector);
    const Option options[] = {{0, name, "kept"}, {0, name, "lost"}};
    return engine_.scheduler().Choose(ChoiceKind::kData, options) == 0;
  });
}

// ---- Jobs ---------------------------------------------------------------------------------------

absl::Status Stage::CoOver(std::string id) {
  const absl::Status status = jobs_->CoWaitUntilOver(id);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;  // it was never started
}

void Stage::CoEndsWell(std::string id) {
  RequireOk(CoOver(id), "I13", StrCat("job '", id, "' failed, and nobody disturbed it"));
}

JobState Stage::StateOf(std::string id) const {
  const absl::StatusOr<JobInfo> info = jobs_->Query(id);
  return info.ok() ? info->state : JobState::kNull;
}

bool Stage::CoWaitForState(std::string id, JobState wanted) {
  for (;;) {
    const absl::StatusOr<JobInfo> info = jobs_->Query(id);
    if (!info.ok() || info->state == JobState::kConcluded) return false;
    if (info->state == wanted) return true;
    CoSleep(kMillisecond / 4);
  }
}

absl::StatusOr<MirrorOptions> Stage::CoMirrorTo(std::string target_name) {
  target_image_ = std::make_shared<MemoryOverlayImage>(kBytes, 512);
  MemoryOverlayOptions driver;
  driver.image = target_image_;
  driver.filename = StrCat("img-", target_name);
  MirrorOptions options;
  options.job.spec.id = "m";
  options.source = chain_.top();
  options.granularity = 512;
  {
    GraphTransaction change(graph_);
    options.target = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)),
                                    {.name = std::move(target_name)});
    AttachmentOptions keep;
    keep.holder = chain_.monitor_holder;
    keep.stays_at_node = true;
    keepers_.push_back(change.Attach(options.target, keep));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph_, options.target));
  return options;
}

// ---- The play -----------------------------------------------------------------------------------

absl::Status Stage::CoBuild() {
  if (options_.layers == 0) return absl::OkStatus();
  MemoryChainOptions layers;
  layers.layers = options_.layers;
  layers.is_read_only = options_.is_read_only;
  layers.map_takes_step = options_.map_takes_step;
  MILLRACE_ASSIGN_OR_RETURN(chain_, CoMakeMemoryChain(graph_, layers, options_.is_owned));
  FillLayers(chain_, disk_);
  views_.emplace(chain_);
  if (options_.guest_rounds > 0 || options_.guest_never_stops) {
    views_->OnWritten(options_.layers - 1);
    Spawn("guest", [this]() MILLRACE_MAY_SUSPEND { return CoGuest(); });
  }
  return absl::OkStatus();
}

template <typename Operation>
absl::Status Stage::CoTry(Operation operation) {
  for (;;) {
    const absl::Status status = operation();
    if (status.ok() || absl::IsDataLoss(status) || !options_.guest_retries) return status;
    CoSleep(kMillisecond);
  }
}

absl::Status Stage::CoGuest() {
  for (int round = 0; options_.guest_never_stops || round < options_.guest_rounds; ++round) {
    if (guest_is_stopped_) break;
    const uint64_t sector = static_cast<uint64_t>(round) * 5 % options_.guest_sectors;
    RequireOk(CoTry([&]() MILLRACE_MAY_SUSPEND { return disk_.CoWrite(chain_.guest, sector, 2); }),
              "I2", "the guest's write failed");
    RequireOk(CoTry([&]() MILLRACE_MAY_SUSPEND {
                return disk_.CoVerify(chain_.guest, (sector + 7) % (kSectors - 2), 2);
              }),
              "I2", "what the guest reads");
    ++guest_operations_;
    if (options_.guest_never_stops && round % 2 == 1) CoSleep(kMillisecond * (round % 5));
  }
  return absl::OkStatus();
}

void Stage::CoPlay(absl::Status (*scene)(Stage&)) {
  actors_.emplace("actors");
  absl::Status status = CoBuild();
  if (status.ok()) status = scene(*this);
  RequireOk(status, "scene", "a step that must succeed");
  StopGuest();
  RequireOk(actors_->CoJoin(), "scene", "an actor's step that must succeed");
  actors_.reset();
  jobs_->CoShutdown();
  jobs_.reset();
  if (options_.layers > 0) CoLastLook();
  CoTakeDown();
}

void Stage::CoLastLook() {
  RequireHeaders();
  if (!chain_.guest.is_attached()) return;
  RequireOk(disk_.CoVerifyAll(chain_.guest), "I2",
            StrCat("what the guest reads from '", NodeOfGuest(), "' in the end"));
  if (options_.checks_views) {
    RequireOk(views_->Check(chain_, graph_), "I5", "what the images say to who opens them later");
  }
  if (!options_.is_read_only || !options_.checks_read_only) return;
  const std::vector<size_t> layers = LayerViews::LayersInUse(chain_, graph_);
  for (size_t layer : layers) {
    if (layer == layers.front()) continue;
    Require(IsReadOnly(graph_, node(layer)), "I19",
            StrCat("n", layer, " was read-only before and is writable now"));
  }
}

std::string Stage::NodeOfGuest() {
  GraphView view(graph_);
  const absl::StatusOr<NodeView> node = view.Resolve(chain_.guest.node());
  return node.ok() ? node->name() : std::string();
}

void Stage::CoTakeDown() {
  RequireSoundGraph("in the end");
  if (options_.layers > 0) chain_.guest.CoDetach();
  chain_.monitor.clear();
  keepers_.clear();
  graph_.CoClose();
  Require(graph_.node_count() == 0, "I18", "nodes are left that nobody holds");
}

}  // namespace millrace::gallery
