// What a recording knows of time, of disks and of what a guest writes.
#include "millrace/engine/explore/recording.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "examples/scenario_kit/memory_chain.h"
#include "examples/scenario_kit/tagged_disk.h"
#include "examples/scenario_kit/user_verbs.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/explorer.h"
#include "millrace/engine/io/io_backend.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/block_job.h"

namespace millrace::recording_test {
namespace {

std::vector<std::string> NotesOf(const Recording& recording, std::string_view kind) {
  std::vector<std::string> notes;
  for (const RecordedNote& note : recording.notes) {
    if (note.kind == kind) notes.push_back(StrCat(note.object, ": ", note.text));
  }
  return notes;
}

// In this process: what the scenario expects is the test's affair.
Recording RecordingOf(const Scenario& scenario) {
  const ReplayReport report = Replay(scenario, Schedule(), {.isolation = Isolation::kNone});
  EXPECT_FALSE(report.has_failed()) << report.recording.failure.text;
  return report.recording;
}

TEST(Recording, AStepThatLetsTimePassIsRecordedAtTheEndOfThatTime) {
  const Recording recording = RecordingOf({"sleeps", [](ScenarioRun& run) {
                                             return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                                               CoSleepFor(50 * kMillisecond).IgnoreError();
                                               CoSleepFor(7 * kMillisecond).IgnoreError();
                                               return absl::OkStatus();
                                             });
                                           }});
  std::vector<int64_t> fired;
  for (const RecordedStep& step : recording.steps) {
    if (step.party.actor == 0) fired.push_back(step.time_ns);
  }
  EXPECT_EQ(fired, (std::vector<int64_t>{50 * kMillisecond, 57 * kMillisecond}));
}

absl::Status CoWriteInMemory(Engine& engine, std::string_view label) MILLRACE_MAY_SUSPEND {
  IoRequest request;
  request.opcode = IoOpcode::kMemory;
  request.offset = 1024;
  request.bytes = 512;
  request.label = label;
  request.deed = "write";
  request.apply = [](IoRequest&) {};
  return CoSubmit(engine.io(), request) < 0 ? absl::UnavailableError("") : absl::OkStatus();
}

TEST(Recording, WhatBeginsAndEndsOnADiskIsNotedAndWhatFailsSaysSo) {
  const Recording recording =
      RecordingOf({"writes", [](ScenarioRun& run) {
                     Engine& engine = run.engine();
                     engine.simulated_io()->Fail({.path = "t", .nth = 2});
                     engine.simulated_io()->Fail(
                         {.path = "t", .nth = 3, .error_number = ENOSPC, .is_after_effect = true});
                     return run.Drive([&]() MILLRACE_MAY_SUSPEND {
                       EXPECT_TRUE(CoWriteInMemory(engine, "t").ok());
                       EXPECT_FALSE(CoWriteInMemory(engine, "t").ok());
                       EXPECT_FALSE(CoWriteInMemory(engine, "t").ok());
                       return absl::OkStatus();
                     });
                   }});
  EXPECT_EQ(NotesOf(recording, "io"),
            (std::vector<std::string>{"t: write 't' at 1024, 512 bytes: begins (#1)",
                                      "t: write 't' at 1024, 512 bytes: done (#1)",
                                      "t: write 't' at 1024, 512 bytes: begins (#2)",
                                      "t: write 't' at 1024, 512 bytes: begins (#3)"}));
  EXPECT_EQ(
      NotesOf(recording, "fault"),
      (std::vector<std::string>{"t: write 't' at 1024, 512 bytes: EIO, without effect (#2)",
                                "t: write 't' at 1024, 512 bytes: ENOSPC, after its effect (#3)"}));
}

Scenario GuestWrites() {
  return {"guest", [](ScenarioRun& run) {
            Graph graph(run.engine());
            BlockJobCommitter committer(graph);
            JobManager jobs(run.engine(), committer);
            return run.Drive([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
              MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                                        CoMakeMemoryChain(graph, {.layers = 1}, false));
              TaggedDisk disk(8);
              absl::Status status = disk.CoWrite(chain.guest, 3, 2);
              status.Update(disk.CoZero(chain.guest, 4, 1, /*discard=*/true));
              run.engine().simulated_io()->Fail({.path = "n0"});
              EXPECT_FALSE(disk.CoWrite(chain.guest, 0, 1).ok());
              EXPECT_FALSE(UserVerbs(run.engine().scheduler(), jobs).SetSpeed("nobody", 1).ok());
              chain.guest.CoDetach();
              jobs.CoShutdown();
              graph.CoClose();
              return status;
            });
          }};
}

TEST(Recording, AGuestsWritesAreNotedWhereTheyBeginAndWhereTheyEnd) {
  const Recording recording = RecordingOf(GuestWrites());
  EXPECT_EQ(NotesOf(recording, "data"),
            (std::vector<std::string>{"drive0: write of sectors 3-4 begins (version 1)",
                                      "drive0: write of sectors 3-4 is done (version 1)",
                                      "drive0: discard of sector 4 begins (version 0)",
                                      "drive0: discard of sector 4 is done (version 0)",
                                      "drive0: write of sector 0 begins (version 2)",
                                      "drive0: write of sector 0 fails (version 2)"}));
}

TEST(Recording, WhatAUserSaysOfSpeedIsNotedWithTheNewOne) {
  EXPECT_EQ(
      NotesOf(RecordingOf(GuestWrites()), "act"),
      (std::vector<std::string>{"user: changes the speed of job 'nobody' to 1 byte a second"}));
}

}  // namespace
}  // namespace millrace::recording_test
