// The exploration of a job of one's own: two scrubs with one report, under every schedule of at
// most two delays, and under random ones.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "examples/own_job/scrub_job.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/portfolio.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/shrink.h"
#include "millrace/engine/scheduler/exploration_site.h"
#include "millrace/graph/drivers/memory_overlay.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"

namespace {

using namespace millrace;  // NOLINT: an example reads better without prefixes

constexpr char kHelp[] =
    "usage: explore_own_job [--random=N] [--scenario='two scrubs'] [--schedule=SCHEDULE]\n"
    "\n"
    "Runs two scrubs that share a report under every schedule of at most two delays, and under N\n"
    "random ones, 100000 if it is not said, and says what that shows. With a schedule, as a "
    "finding prints it: that run\n"
    "again, step by step; a star marks where it leaves production's order.\n"
    "\n"
    "Exit status: 0 all is well, 1 something is wrong, 2 the command line was not understood.\n";

constexpr uint64_t kSector = 512;
constexpr uint64_t kSectors = 4;
constexpr uint64_t kStored = 2;  // sectors that an image holds

// A small image in memory, held by `keeper`.
absl::StatusOr<NodeId> AddImage(Graph& graph, const std::string& name, Attachment& keeper)
    MILLRACE_OPENS_VIEW {
  MemoryOverlayOptions driver;
  driver.image = std::make_shared<MemoryOverlayImage>(kSectors * kSector, kSector);
  for (uint64_t sector = 0; sector < kStored; ++sector) {
    driver.image->map[2 * sector] = MemoryOverlayImage::Cluster::kData;
  }
  driver.filename = name;
  GraphTransaction change(graph);
  const NodeId node = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {.name = name});
  AttachmentOptions keep;
  keep.holder = MakeHolder("monitor", "monitor");
  keep.stays_at_node = true;
  keeper = change.Attach(node, keep);
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return node;
}

absl::Status CoStart(Graph& graph, JobManager& jobs, const std::string& name, NodeId image,
                     example::ScrubReport* report) MILLRACE_MAY_SUSPEND {
  example::ScrubOptions scrub;
  scrub.job.spec.id = "scrub-" + name;
  scrub.image = image;
  scrub.report = report;
  return example::CoStartScrub(graph, jobs, scrub).status();
}

// README: begin
// The world is made anew in each run: a graph with two images, a job on each, one report.
absl::Status CoScrubTwo(Graph& graph, JobManager& jobs) MILLRACE_MAY_SUSPEND {
  example::ScrubReport report;
  std::vector<Attachment> keepers(2);
  for (const size_t i : {0u, 1u}) {
    const std::string name = i == 0 ? "left" : "right";
    MILLRACE_ASSIGN_OR_RETURN(const NodeId image, AddImage(graph, name, keepers[i]));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, image));
    MILLRACE_RETURN_IF_ERROR(CoStart(graph, jobs, name, image, &report));
  }
  MILLRACE_RETURN_IF_ERROR(jobs.CoWaitUntilOver("scrub-left"));
  MILLRACE_RETURN_IF_ERROR(jobs.CoWaitUntilOver("scrub-right"));
  for (Attachment& keeper : keepers) keeper.CoDetach();
  // The oracle: what must hold however the two have met.
  if (report.bytes_read == 2 * kStored * kSector) return absl::OkStatus();
  return absl::DataLossError(StrCat("report: ", report.bytes_read, " bytes read"));
}

Scenario TwoScrubs() {
  return {"two scrubs",
          [](ScenarioRun& run) {
            Graph graph(run.engine());
            BlockJobCommitter committer(graph);
            JobManager jobs(run.engine(), committer);
            return run.Drive([&]() MILLRACE_MAY_SUSPEND {
              absl::Status status = CoScrubTwo(graph, jobs);
              jobs.CoShutdown();
              graph.CoClose();
              return status;
            });
          },
          ChoiceKinds::Schedule().With(ChoiceKind::kBuggify)};
}

// Says what was shown, or what goes wrong and how to see it again.
bool Explored(Strategy& strategy, uint64_t schedules, std::string_view program) {
  const ExploreReport report = Explore(TwoScrubs(), strategy, {.budget = {.schedules = schedules}});
  if (!report.finding) {
    std::cout << report.strategy << ": " << report.proof << '\n';
    for (size_t i = 0; i < report.site_hits.size(); ++i) {
      const std::string_view name = ExplorationSites()[i]->name;
      if (name.substr(0, 6) == "scrub:")
        std::cout << "  " << name << ": " << report.site_hits[i] << '\n';
    }
    return true;
  }
  const Finding finding = Shrink(TwoScrubs(), *report.finding).finding;
  std::cout << finding.failure.text << '\n'
            << ReplayLine(program, "two scrubs", finding) << "\n\n"
            << RegressionTest("Scrub", "TwoScrubs()", finding);
  return false;
}
// README: end

int Repeat(std::string_view text) {
  const absl::StatusOr<Schedule> schedule = Schedule::FromText(text);
  if (!schedule.ok()) {
    std::cerr << schedule.status().message() << '\n';
    return 2;
  }
  const ReplayReport report = Replay(TwoScrubs(), *schedule);
  for (const RecordedStep& step : report.recording.steps) {
    const bool is_deviation = step.choice && report.recording.choices[*step.choice].is_deviation();
    std::cout << (is_deviation ? "* " : "  ") << step.party.name << " from " << step.party.detail
              << '\n';
  }
  if (!report.stale.ok()) std::cout << report.stale << '\n';
  std::cout << (report.has_failed() ? report.recording.failure.text : "it goes well") << '\n';
  return report.has_failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::string_view kSchedule = "--schedule=";
  constexpr std::string_view kRandom = "--random=";
  std::string_view schedule;
  uint64_t random_schedules = 100'000;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--help") {
      std::cout << kHelp;
      return 0;
    }
    if (argument.substr(0, kSchedule.size()) == kSchedule) {
      schedule = argument.substr(kSchedule.size());
    } else if (argument.substr(0, kRandom.size()) == kRandom &&
               absl::SimpleAtoi(argv[i] + kRandom.size(), &random_schedules)) {
      continue;
    } else if (argument != "--scenario=two scrubs") {
      std::cerr << "explore_own_job: '" << argument << "' is not understood\n\n" << kHelp;
      return 2;
    }
  }
  if (!schedule.empty()) return Repeat(schedule);
  DelayBounded few_delays(2);
  if (!Explored(few_delays, 100'000, argv[0])) return 1;
  Portfolio portfolio(1, {.buggify_one_in = 4});
  return Explored(portfolio, random_schedules, argv[0]) ? 0 : 1;
}
