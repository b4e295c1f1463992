#include "millrace/engine/explore/replay_page.h"

#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "examples/scenario_kit/run_notes.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/explore/random.h"
#include "millrace/engine/explore/regression_test.h"
#include "millrace/engine/explore/timeline.h"
#include "tests/support/chain_story.h"

namespace millrace::replay_page_test {
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
      "    2    1.500 ms         write *                   * production would have run a at write; "
      "here b at write ran\n"
      "    3    1.500 ms                  write img: ok *  * outcome: production has 'ok' of write "
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
            ChainStory* told = nullptr;
            TaskScope scope(run.engine().scheduler(), "play");
            const auto body = [&](ChainStory& story) MILLRACE_MAY_SUSPEND -> absl::Status {
              told = &story;
              absl::Status status = story.CoStart(story.Stream("stream0", 2, 0));
              status.Update(story.CoOver("stream0"));
              if (story.Shape() != "n2 <- n1 <- n0") {
                run.Fail("I15 shape", "the chain is " + story.Shape() + " </script> & \"n1\" died");
              }
              told = nullptr;
              return status;
            };
            scope.Spawn("story", [&]() MILLRACE_MAY_SUSPEND {
              return CoTellChainStory(run.engine(), {.layers = 3, .guest_rounds = 2}, 1, body);
            });
            run.engine().RunUntil([&]() MILLRACE_OPENS_VIEW {
              if (told != nullptr) {
                NoteGraph(told->graph());
                NoteJobs(run.engine().scheduler(), told->jobs());
              }
              return scope.live() == 0;
            });
            return scope.Finish();
          }};
}

// ---- A story told by snapshots: what a page makes of them ---------------------------------------

std::string HolderJson(std::string_view id, std::string_view type) {
  return StrCat("{\"id\": \"", id, "\", \"type\": \"", type, "\", \"since\": 0}");
}

struct NodeFacts {
  std::string name;
  std::string child{};   // what it stands on
  std::string lessee{};  // the commit that has frozen that link
  int requests = 0;
  int guests_requests = -1;  // of the disk on it; -1: there is none
  std::string job_role{};    // "c/base"
};

std::string NodeJson(const NodeFacts& facts, std::string_view id) {
  const std::string lease = facts.lessee.empty() ? "null" : HolderJson(facts.lessee, "commit job");
  std::string users;
  if (facts.guests_requests >= 0) {
    users = StrCat("{\"holder\": ", HolderJson("drive0", "block device"),
                   ", \"purpose\": \"root\", \"device\": \"drive0\", \"in-flight\": ",
                   facts.guests_requests, ", \"queued\": 0}");
  } else if (const size_t slash = facts.job_role.find('/'); slash != std::string::npos) {
    users = StrCat("{\"holder\": ", HolderJson(facts.job_role.substr(0, slash), "commit job"),
                   ", \"purpose\": \"", facts.job_role.substr(slash + 1),
                   "\", \"device\": \"\", \"in-flight\": 0, \"queued\": 0}");
  }
  return StrCat("{\"id\": \"", id, "\", \"name\": \"", facts.name,
                "\", \"driver\": \"memory-overlay\", \"kind\": \"",
                facts.name == "f" ? "filter" : "format",
                "\", \"read-only\": false, \"drained\": false, \"requests\": ", facts.requests,
                ", \"users\": [", users, "], \"edges\": [",
                facts.child.empty() ? ""
                                    : StrCat("{\"name\": \"backing\", \"child\": \"", facts.child,
                                             "\", \"lease\": ", lease, "}"),
                "], \"claims\": []}");
}

RecordedNote GraphNote(size_t step, const std::vector<NodeFacts>& nodes) {
  std::string text = "{\"nodes\": [";
  for (const NodeFacts& each : nodes) {
    // A name is an identity here.
    StrAppend(&text, text.back() == '[' ? "" : ", ", NodeJson(each, StrCat("id-", each.name)));
  }
  return {step, "graph", "", StrCat(text, "], \"sections\": []}")};
}

RecordedNote JobsNote(size_t step, std::string_view jobs) {
  return {step, "jobs", "", StrCat("{\"jobs\": [", jobs, "]}")};
}

// top <- f <- base under drive0, frozen by commit 'c'. 'c' is over in step 24 and leaves f's link
// frozen; in step 26 it has its filter out of the chain, in 28 somebody puts that back. Steps 2 to
// 21 are a copy's. Twenty lanes, so that the last ones are out of sight.
Recording StoryOfAForgottenFreeze() {
  Recording recording;
  recording.scenario = "forgotten freeze";
  for (uint64_t i = 0; i < 30; ++i) {
    const bool is_copy = i >= 2 && i < 22;
    const uint64_t lane = is_copy ? 2 + i % 2 : i < 2 ? 1 : i - 18;
    recording.steps.push_back(
        {0, {lane, StrCat("party-", lane), i == 0 ? "start" : "job.wait"}, std::nullopt});
  }
  const std::string running = R"({"id": "c", "type": "commit", "state": "running", "held": 0})";
  const std::string pending = R"({"id": "c", "type": "commit", "state": "pending", "held": 0})";
  const std::string other = R"({"id": "s", "type": "stream", "state": "running", "held": 0})";
  const NodeFacts base{.name = "base"};
  const NodeFacts frozen{.name = "f", .child = "base", .lessee = "c"};
  recording.notes = {
      {1, "act", "user", "starts commit job 'c'"},
      GraphNote(0, {base, frozen, {.name = "top", .child = "f", .guests_requests = 0}}),
      JobsNote(1, StrCat(running, ", ", other)),
      JobsNote(22, StrCat(pending, ", ", other)),
      {23, "bug", "the restored bug acts", "in End() of freeze.cc"},
      JobsNote(24, other),
      GraphNote(26, {base,
                     {.name = "f", .child = "base", .lessee = "c", .job_role = "s/base"},
                     {.name = "top", .child = "base", .guests_requests = 0}}),
      GraphNote(28, {base, frozen, {.name = "top", .child = "f", .guests_requests = 1}}),
      {29, "failure", "I15",
       "job 's' failed: the chain is top <- [f] <- base, allowed is top <- base"}};
  recording.failure = {"I15", recording.notes.back().text};
  recording.is_cut_off = true;
  return recording;
}

void WriteFile(const std::string& name, const std::string& text) {
  const char* folder = std::getenv("MILLRACE_PAGE_FOLDER");
  if (folder != nullptr) std::ofstream(StrCat(folder, "/", name)) << text;
}

// What the page makes of it is looked at in a browser, by replay_page_test.py.
TEST(ReplayPage, IsWrittenOfAStoryToldBySnapshots) {
  const Recording recording = StoryOfAForgottenFreeze();
  const std::string page =
      ReplayPage(recording, {.explanation = "The bug: a link stays frozen.\nThe scene: a commit."});
  EXPECT_EQ(Count(page, "\"kind\": \"jobs\""), 3u);
  EXPECT_EQ(Count(page, "\"snapshot\": "), 6u);
  WriteFile("story.html", page);
  Recording well = recording;
  well.failure = {};
  well.notes.clear();
  WriteFile("well.html", ReplayPage(well));
}

// A snapshot is told in one line where it differs from the one of its kind before.
TEST(Timeline, TellsSnapshotsOfEachKindWhereTheyChange) {
  Recording recording;
  recording.steps = {{0, {1, "a", "start"}, std::nullopt}, {0, {1, "a", "next"}, std::nullopt}};
  recording.notes = {{0, "graph", "top", "{}"},
                     {0, "jobs", "c running", "{}"},
                     {1, "graph", "top", "{}"},
                     {1, "jobs", "c pending", "{}"}};
  EXPECT_EQ(TimelineText(recording),
            "    #       vtime  a      notes\n"
            "    0    0.000 ms  start  graph: top\n"
            "                          jobs: c running\n"
            "    1    0.000 ms  next   jobs: c pending\n");
}

// Its page is what replay_page_test.py opens in a browser, from where the environment says.
TEST(ReplayPage, ShowsARecordedRunWithItsGraph) {
  RandomWalk strategy(3);
  const ExploreReport report = Explore(StreamJudgedWrongly(), strategy);
  ASSERT_TRUE(report.finding) << report.log;
  const Finding& finding = *report.finding;
  EXPECT_EQ(finding.failure.signature, "I15 shape");
  // Once more in this process, where what the story expects of the layers is the test's affair.
  const ReplayReport again =
      Replay(StreamJudgedWrongly(), finding.schedule, {.isolation = Isolation::kNone});
  EXPECT_EQ(again.recording.failure.signature, "I15 shape");
  const std::string page =
      ReplayPage(finding.recording,
                 {.title = "A stream, judged <wrongly>",
                  .explanation = "The oracle holds that the stream leaves n2 <- n1 <- n0.",
                  .replay_line = ReplayLine("explore_test", finding.recording.scenario, finding)});
  EXPECT_NE(page.find("\\\"name\\\": \\\"n1\\\""), std::string::npos);
  WriteFile("page.html", page);
  WriteFile("trace.json", TimelineTraceJson(finding.recording));
  WriteFile("timeline.txt", TimelineText(finding.recording));
}

}  // namespace
}  // namespace millrace::replay_page_test
