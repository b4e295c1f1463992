#include "tests/scenarios/exploration/story_scenario.h"

#include <utility>
#include <vector>

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/io/simulated_io.h"

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

// I19: when all is over, images that were read-only are so again; all but the one that is now on
// top.
void ExpectReadOnlyAgain(ChainStory& story) MILLRACE_OPENS_VIEW {
  const std::vector<size_t> layers = LayerViews::LayersInUse(story.chain(), story.graph());
  for (size_t layer : layers) {
    if (layer == layers.front()) continue;
    EXPECT_TRUE(IsReadOnly(story.graph(), story.node(layer)))
        << "n" << layer << " was read-only and is writable now";
  }
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

Scenario StoryScenario(std::string name, ChainStoryOptions options, StoryBody body) {
  return {std::move(name), [options, body = std::move(body)](ScenarioRun& run) {
            const auto tell = [&](ChainStory& story) MILLRACE_MAY_SUSPEND {
              // A read that fails would hide what is lost.
              story.set_before_last_look([&] {
                run.SetFaults(false);
                run.engine().simulated_io()->ClearFailures();
              });
              absl::Status status = body(run, story);
              if (status.ok() && options.is_read_only) ExpectReadOnlyAgain(story);
              return status;
            };
            return WithExpectations(run, [&]() {
              return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                return CoTellChainStory(run.engine(), options, 0, tell);
              });
            });
          }};
}

}  // namespace millrace
