#include "millrace/engine/explore/replay_page.h"

#include <cstdlib>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "examples/scenario_kit/graph_notes.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/timeline.h"
#include "tests/support/chain_story.h"

namespace millrace {
namespace {

// Two coroutines, an I/O and a deviation, written down by hand.
Recording SmallRecording() {
  Recording recording;
  recording.scenario = "two transfers";
  recording.steps = {{0, {1, "a", "start"}, std::nullopt},
                     {0, {2, "b", "start"}, std::nullopt},
                     {1'500'000, {2, "b", "write"}, 0},
                     {1'500'000, {(uint64_t{1} << 32) + 7, "write img", "ok"}, std::nullopt},
                     {2'000'000, {1, "a", "write"}, std::nullopt}};
  recording.choices = {
      {0, ChoiceKind::kStep, {{1, "a", "write"}, {2, "b", "write"}}, 1, 2},
      {1, ChoiceKind::kOutcome, {{0, "write img", "ok"}, {0, "write img", "torn"}}, 1, 3}};
  recording.notes = {{0, "graph", "top <- base", "{\"nodes\": []}"},
                     {1, "graph", "top <- base", "{\"nodes\": []}"},
                     {4, "failure", "I2 lost update", "the account is 1\nit should be 11"}};
  recording.failure = {"I2 lost update", "the account is 1\nit should be 11"};
  return recording;
}

size_t Count(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(Timeline, HasALanePerPartyAndMarksDeviations) {
  EXPECT_EQ(
      TimelineText(SmallRecording()),
      "    #       vtime  a      b        i/o              notes\n"
      "    0    0.000 ms  start                            graph: top <- base\n"
      "    1    0.000 ms         start\n"
      "    2    1.500 ms         write *                   * canonical would have run a at write; "
      "here b at write ran\n"
      "    3    1.500 ms                  write img: ok *  * outcome: canonical is 'ok' of write "
      "img; here it is 'torn'\n"
      "    4    2.000 ms  write                            !! I2 lost update: the account is 1\n"
      "failed: I2 lost update: the account is 1\n");
}

TEST(Timeline, ShowsTheLastStepsBeforeTheFailure) {
  const std::string text = TimelineText(SmallRecording(), {.lane_width_max = 8, .steps_max = 1});
  EXPECT_EQ(text,
            "    #       vtime  a      b        i/o       notes\n"
            "  (4 steps before)\n"
            "    4    2.000 ms  write                     !! I2 lost update: the account is 1\n"
            "failed: I2 lost update: the account is 1\n");
}

TEST(Timeline, ACoroutineGoesOnInTheLaneOfOneThatHasEnded) {
  Recording recording;
  recording.steps = {{0, {1, "guest", "1"}, std::nullopt},
                     {0, {2, "guest", "2"}, std::nullopt},
                     {0, {1, "guest", "3"}, std::nullopt},
                     {0, {3, "guest", "4"}, std::nullopt},
                     {0, {1, "guest", "5"}, std::nullopt}};
  EXPECT_EQ(TimelineText(recording),
            "    #       vtime  guest  guest #2  notes\n"
            "    0    0.000 ms  1\n"
            "    1    0.000 ms         2\n"
            "    2    0.000 ms  3\n"
            "    3    0.000 ms         4\n"
            "    4    0.000 ms  5\n");
}

TEST(Timeline, TraceHasALanePerPartyASlicePerStepAndInstants) {
  const std::string json = TimelineTraceJson(SmallRecording());
  EXPECT_EQ(Count(json, "\"thread_name\""), 3u);
  EXPECT_EQ(Count(json, "\"ph\": \"X\""), 5u);
  EXPECT_EQ(Count(json, "\"cat\": \"deviation\""), 2u);
  EXPECT_EQ(Count(json, "\"virtual_ns\": 1500000"), 2u);
}

TEST(ReplayPage, NeedsNothingElse) {
  const std::string page = ReplayPage(SmallRecording());
  for (const char* foreign : {"src=", "href=", "@import", "url(http"}) {
    EXPECT_EQ(page.find(foreign), std::string::npos) << foreign;
  }
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
}

TEST(ReplayPage, EscapesWhateverTheRecordingHolds) {
  Recording recording = SmallRecording();
  recording.scenario = "</script><b>";
  recording.steps[0].party.name = "<!--<script>";
  recording.failure.text = "</script><img onerror=1>";
  const std::string page = ReplayPage(recording, {.title = "<i>&\""});
  EXPECT_EQ(Count(page, "</script>"), 2u);  // the data's and the script's own
  EXPECT_EQ(page.find("<b>"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("<!--"), std::string::npos);
  EXPECT_NE(page.find("<h1>&lt;i&gt;&amp;&quot;</h1>"), std::string::npos);
}

TEST(ReplayPage, KeepsEachPictureOfTheGraphOnce) {
  const std::string page = ReplayPage(SmallRecording());
  EXPECT_EQ(Count(page, "{\\\"nodes\\\": []}"), 1u);
}

// A stream on a real chain beside a guest, judged by an oracle that is wrong: it holds that the
// stream leaves three images.
Scenario StreamJudgedWrongly() {
  return {"stream judged wrongly", [](ScenarioRun& run) {
            Graph* graph = nullptr;
            TaskScope scope(run.engine().scheduler(), "play");
            const auto body = [&](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
              graph = &story.graph();
              absl::Status status = story.CoStart(story.Stream("stream0", 2, 0));
              status.Update(story.CoOver("stream0"));
              if (story.Shape() != "n2 <- n1 <- n0") {
                run.Fail("I15 shape", "the chain is " + story.Shape() + " </script> & \"n1\" died");
              }
              graph = nullptr;
              return status;
            };
            scope.Spawn("story", [&]() MILLRACE_MAY_SUSPEND {
              return CoTellChainStory(run.engine(), {.layers = 3, .guest_rounds = 2}, 1, body);
            });
            run.engine().RunUntil([&]() MILLRACE_OPENS_VIEW {
              if (graph != nullptr) NoteGraph(*graph);
              return scope.live() == 0;
            });
            return scope.Finish();
          }};
}

// Its page is what replay_page_test.py opens in a browser, from where the environment says.
TEST(ReplayPage, ShowsARecordedRunWithItsGraph) {
  RandomWalk strategy(3);
  const ExploreReport report = Explore(StreamJudgedWrongly(), strategy);
  ASSERT_TRUE(report.finding) << report.log;
  const Finding& finding = *report.finding;
  EXPECT_EQ(finding.failure.signature, "I15 shape");
  const std::string page =
      ReplayPage(finding.recording,
                 {.title = "A stream, judged <wrongly>",
                  .explanation = "The oracle holds that the stream leaves n2 <- n1 <- n0.",
                  .replay_line = ReplayLine("explore_test", finding.recording.scenario, finding)});
  EXPECT_NE(page.find("\\\"name\\\": \\\"n1\\\""), std::string::npos);
  const char* folder = std::getenv("MILLRACE_PAGE_FOLDER");
  if (folder == nullptr) return;
  std::ofstream(std::string(folder) + "/page.html") << page;
  std::ofstream(std::string(folder) + "/trace.json") << TimelineTraceJson(finding.recording);
  std::ofstream(std::string(folder) + "/timeline.txt") << TimelineText(finding.recording);
}

}  // namespace
}  // namespace millrace
