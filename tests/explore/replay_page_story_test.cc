// A story told by hand, with all that a page can tell of a mirror: copies side by side, a guest's
// write, a drain that is not ended, a disk that fails, a long sleep, a node that goes.
// replay_page_test.py looks at its page in a browser.
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/replay_page.h"

namespace millrace::replay_page_story_test {
namespace {

constexpr uint64_t kIo = uint64_t{1} << 32;
constexpr int64_t kMs = 1'000'000;

std::string Holder(std::string_view id, std::string_view type) {
  return StrCat(R"({"id": ")", id, R"(", "type": ")", type, R"(", "since": 0})");
}

std::string User(std::string_view id, std::string_view type, std::string_view purpose,
                 int in_flight) {
  return StrCat(R"({"holder": )", Holder(id, type), R"(, "purpose": ")", purpose,
                R"(", "device": ")", type == "block device" ? id : "", R"(", "in-flight": )",
                in_flight, R"(, "queued": 0})");
}

struct Facts {
  std::string name;
  std::string child{};
  std::string users{};
  std::string state{};
  int requests = 0;
  bool is_drained = false;
};

std::string Node(const Facts& facts) {
  const std::string edge = facts.child.empty() ? ""
                                               : StrCat(R"({"name": "backing", "child": ")",
                                                        facts.child, R"(", "lease": null})");
  return StrCat(R"({"id": "id-)", facts.name, R"(", "name": ")", facts.name,
                R"(", "driver": "memory", "kind": ")", facts.name == "f" ? "filter" : "format",
                R"(", "read-only": false, "drained": )", facts.is_drained ? "true" : "false",
                R"(, "state": ")", facts.state, R"(", "requests": )", facts.requests,
                R"(, "users": [)", facts.users, R"(], "edges": [)", edge, R"(], "claims": []})");
}

std::string Drain(bool is_granted, std::string_view roots, std::string_view covers,
                  std::string_view waits_for) {
  return StrCat(R"({"id": 70, "granted": )", is_granted ? "true" : "false", R"(, "roots": [)",
                roots, R"(], "owners": [)", Holder("m", "mirror job"), R"(], "covers": [)", covers,
                R"(], "since": 0, "waits-for": ")", waits_for, R"("})");
}

RecordedNote Graph(size_t step, const std::vector<Facts>& nodes, std::string_view drain) {
  std::string text;
  for (const Facts& each : nodes) StrAppend(&text, text.empty() ? "" : ", ", Node(each));
  return {step, "graph", "", StrCat(R"({"nodes": [)", text, R"(], "sections": [)", drain, "]}")};
}

RecordedNote Jobs(size_t step, std::string_view state) {
  return {step, "jobs", "",
          StrCat(R"({"jobs": [{"id": "m", "type": "mirror", "state": ")", state,
                 R"(", "held": 0, "error": ""}]})")};
}

std::string Guest(int in_flight) { return User("drive0", "block device", "root", in_flight); }
std::string Target(int in_flight) { return User("m", "mirror job", "target", in_flight); }

// The target stands first among the nodes, as one does that was there before the filter.
std::vector<RecordedNote> Graphs() {
  const Facts a{.name = "a"};
  const std::string pending =
      Drain(false, R"("f", "a", "a")", R"("f", "a", "t")", "2 requests in flight on node 'f'");
  const std::string granted = Drain(true, R"("f", "a", "a")", R"("f", "a", "t")", "");
  const std::string forgotten = Drain(true, R"x("(f, gone)", "a", "a")x", R"("a", "t")", "");
  const Facts drained_a{.name = "a", .is_drained = true};
  return {
      Graph(0,
            {{.name = "t", .users = Target(0)},
             a,
             {.name = "f", .child = "a", .users = Guest(0), .state = "0 marks"}},
            ""),
      Graph(5,
            {{.name = "t", .users = Target(0)},
             a,
             {.name = "f", .child = "a", .users = Guest(1), .state = "0 marks", .requests = 2}},
            ""),
      Graph(6,
            {{.name = "t", .users = Target(0), .is_drained = true},
             drained_a,
             {.name = "f",
              .child = "a",
              .users = Guest(1),
              .state = "0 marks",
              .requests = 2,
              .is_drained = true}},
            pending),
      Graph(8,
            {{.name = "t", .users = Target(0), .is_drained = true},
             drained_a,
             {.name = "f", .child = "a", .users = Guest(0), .state = "1 mark", .is_drained = true}},
            granted),
      Graph(9,
            {{.name = "t", .users = Target(1), .requests = 2, .is_drained = true},
             drained_a,
             {.name = "f", .child = "a", .users = Guest(0), .state = "1 mark", .is_drained = true}},
            granted),
      Graph(
          12,
          {{.name = "t", .is_drained = true}, {.name = "a", .users = Guest(0), .is_drained = true}},
          forgotten)};
}

Recording StoryOfALostWrite() {
  Recording recording;
  recording.scenario = "lost write";
  const int64_t late = 50'000 * kMs;
  recording.steps = {{0, {1, "scene", "start"}, {}},      {0, {2, "piece", "start"}, {}},
                     {0, {3, "piece", "start"}, {}},      {0, {kIo + 1, "t", "memory"}, {}},
                     {kMs, {kIo + 2, "t", "memory"}, {}}, {kMs, {4, "writer", "start"}, {}},
                     {kMs, {5, "m", "job.wait"}, {}},     {kMs, {kIo + 3, "a", "memory"}, {}},
                     {kMs, {4, "writer", "io"}, {}},      {kMs, {5, "m", "drain.begin"}, {}},
                     {kMs, {kIo + 4, "t", "memory"}, {}}, {late, {0, "job.sleep", "timer"}, {}},
                     {late, {5, "m", "job.sleep"}, {}},   {late, {1, "scene", "job.over"}, {}},
                     {late, {2, "piece", "io"}, {}}};
  recording.notes = {
      {0, "act", "user", "starts mirror job 'm'"},
      {1, "io", "t", "write 't' at 1536, 512 bytes: begins (#1)"},
      {2, "io", "t", "write 't' at 0, 1024 bytes: begins (#2)"},
      {3, "io", "t", "write 't' at 1536, 512 bytes: done (#1)"},
      {4, "io", "t", "write 't' at 0, 1024 bytes: done (#2)"},
      {5, "data", "drive0", "write of sector 3 begins (version 2)"},
      {5, "io", "a", "write 'a' at 1536, 512 bytes: begins (#3)"},
      {6, "bug", "the restored bug acts", "the marks are not looked at again (in Look() of m.cc)"},
      {7, "io", "a", "write 'a' at 1536, 512 bytes: done (#3)"},
      {8, "data", "drive0", "write of sector 3 is done (version 2)"},
      {9, "bug", "the restored bug acts", "the marks are not looked at again (in Look() of m.cc)"},
      {9, "io", "t", "write 't' at 4096, 512 bytes: begins (#4)"},
      {10, "fault", "t", "write 't' at 4096, 512 bytes: EIO, without effect (#4)"},
      {13, "failure", "I2",
       "DATA_LOSS: I2: sector 3 holds version 1, expected 2, and job 'm' holds a drain"}};
  const std::vector<RecordedNote> graphs = Graphs();
  recording.notes.insert(recording.notes.end(), graphs.begin(), graphs.end());
  recording.notes.push_back(Jobs(0, "running"));
  recording.notes.push_back(Jobs(12, "aborting"));
  recording.failure = {"I2", recording.notes[13].text};
  return recording;
}

TEST(ReplayPage, IsWrittenOfAMirrorThatLosesAWrite) {
  const std::string page = ReplayPage(
      StoryOfALostWrite(),
      {.title = "A lost write",
       .verdict = "The guest does not read what it wrote last.",
       .explanation = "The bug: the marks are not looked at again.\nThe scene: a mirror and a "
                      "writer who writes one place after the other while the user completes it.\n"
                      "What must hold (I2): a disk shows what its guest wrote last.",
       .replay_line = "race_gallery run R99 --replay=-",
       .words = {{"I2", "a disk shows <what> its guest wrote last"}}});
  EXPECT_NE(page.find(R"("verdict": "The guest does not)"), std::string::npos);
  EXPECT_NE(page.find(R"("ns": 50000000000)"), std::string::npos);
  const char* folder = std::getenv("MILLRACE_PAGE_FOLDER");
  if (folder != nullptr) std::ofstream(StrCat(folder, "/mirror.html")) << page;
}

}  // namespace
}  // namespace millrace::replay_page_story_test
