#include "tests/scenarios/exploration/story_scenario.h"

#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"
#include "tests/support/job_witness.h"

namespace millrace {
namespace {

// "commit_test.cc: <first line of what was expected>"
std::string SignatureOfPart(const testing::TestPartResult& part) {
  std::string file = part.file_name() == nullptr ? "?" : part.file_name();
  const size_t slash = file.rfind('/');
  if (slash != std::string::npos) file.erase(0, slash + 1);
  const std::string summary = part.summary();
  return StrCat("EXPECT ", file, ": ", summary.substr(0, summary.find('\n')));
}

using WitnessSlot = std::shared_ptr<std::unique_ptr<JobWitness>>;

// The witness of this run. It outlives the run's engine, which is gone when the next run begins.
JobWitness& NewWitness(WitnessSlot& slot, ScenarioRun& run) {
  *slot = std::make_unique<JobWitness>(
      [&run](std::string text) { run.Fail("O9 job events", std::move(text)); });
  return **slot;
}

}  // namespace

absl::Status WithExpectations(ScenarioRun& run, const std::function<absl::Status()>& body) {
  testing::TestPartResultArray results;
  absl::Status status;
  {
    testing::ScopedFakeTestPartResultReporter reporter(&results);
    status = body();
  }
  for (int i = 0; i < results.size(); ++i) {
    const testing::TestPartResult& part = results.GetTestPartResult(i);
    if (part.failed()) {
      run.Fail(SignatureOfPart(part), StrCat(part.file_name() == nullptr ? "" : part.file_name(),
                                             ":", part.line_number(), ": ", part.message()));
    }
  }
  return status;
}

void Demand(ScenarioRun& run, bool holds, std::string_view signature, std::string_view text) {
  if (!holds) run.Fail(std::string(signature), StrCat(signature, ": ", text));
}

void DemandShape(ScenarioRun& run, ChainStory& story, std::string_view shape) {
  const std::string is = story.Shape();
  if (is != shape) run.Fail("O3 chain", StrCat("the chain is ", is, "; it was to be ", shape));
}

Scenario StoryScenario(std::string name, ChainStoryOptions options, StoryBody body) {
  auto slot = std::make_shared<std::unique_ptr<JobWitness>>();
  return {std::move(name), [options, body = std::move(body), slot](ScenarioRun& run) mutable {
            JobWitness& witness = NewWitness(slot, run);
            Engine& engine = run.NewEngine(nullptr, &witness);
            const auto tell = [&](ChainStory& story) MILLRACE_MAY_SUSPEND {
              absl::Status status = body(run, story);
              const auto take_in_ends = [&, went_well = status.ok()] {
                const bool is_undone = witness.has_undone_job() || story.has_refused_start();
                story.set_may_stay_writable(run.is_tolerant() && (is_undone || !went_well));
                story.set_has_failed_job(witness.has_failed_job());
              };
              story.set_before_last_look([&, take_in_ends] {
                // A read that fails would hide what is lost.
                run.SetFaults(false);
                engine.simulated_io()->ClearFailures();
                witness.OnAllOver();
                story.set_job_ends(witness.ends());
                take_in_ends();
              });
              // By the end of a job, not only when all is shut down.
              take_in_ends();
              if (status.ok() && options.is_read_only) status = story.CheckReadOnly();
              return status;
            };
            return WithExpectations(run, [&]() {
              return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                return CoTellChainStory(engine, options, 0, tell);
              });
            });
          }};
}

}  // namespace millrace
