#include "millrace/engine/io/simulated_io.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/io_error.h"
#include "tests/engine/io/io_test_support.h"

namespace millrace::simulated_io_test {
namespace {

using Operation = SimulatedOperation;

std::unique_ptr<Engine> Simulated(SimulatedDisk* disk, Decider* decider = nullptr) {
  auto engine = Engine::Create({.simulated = true, .decider = decider, .disk = disk});
  EXPECT_TRUE(engine.ok());
  return *std::move(engine);
}

IoFile CoOpenOrFail(Engine& engine, const std::string& path) MILLRACE_MAY_SUSPEND {
  auto file = engine.io().CoOpen(path, {.writable = true});
  EXPECT_TRUE(file.ok()) << file.status();
  return file.value_or(IoFile{});
}

// Takes a given answer for one kind of choice at its n-th question, and 0 otherwise.
class OneAnswer final : public Decider {
 public:
  OneAnswer(ChoiceKind kind, std::string_view detail, int at = 0)
      : kind_(kind), detail_(detail), at_(at) {}
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (kind != kind_) return 0;
    for (size_t i = 0; i < options.size(); ++i) {
      if (options[i].detail == detail_ && at_-- == 0) return i;
    }
    return 0;
  }

 private:
  const ChoiceKind kind_;
  const std::string_view detail_;
  int at_;
};

TEST(SimulatedFiles, AreReadWrittenAndKeptByTheDisk) {
  SimulatedDisk disk;
  disk.Put("a", "hello", 100);
  {
    auto engine = Simulated(&disk);
    ASSERT_TRUE(engine
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      const IoFile file = CoOpenOrFail(*engine, "a");
                      EXPECT_EQ(CoReadText(engine->io(), file, 0, 5), "hello");
                      EXPECT_EQ(CoReadText(engine->io(), file, 98, 5), std::string("\0\0", 2));
                      EXPECT_EQ(CoWriteText(engine->io(), file, 4, " no"), 3);
                      engine->io().CoClose(file);
                    })
                    .ok());
  }
  EXPECT_EQ(disk.Contents("a").substr(0, 7), "hell no");
  EXPECT_EQ(disk.DurableContents("a").substr(0, 7), std::string("hello\0\0", 7));
}

TEST(SimulatedFiles, HolesAreTruthful) {
  SimulatedDisk disk;
  disk.Put("a", "", 1 << 20);
  auto engine = Simulated(&disk);
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    IoBackend& io = engine->io();
                    const IoFile file = CoOpenOrFail(*engine, "a");
                    EXPECT_EQ(io.CoFindExtent(file, 0)->bytes, 1u << 20);
                    EXPECT_FALSE(io.CoFindExtent(file, 0)->is_data);
                    EXPECT_EQ(CoWriteText(io, file, 8192, std::string(8192, 'x')), 8192);
                    EXPECT_EQ(io.CoFindExtent(file, 0)->bytes, 8192u);
                    EXPECT_EQ(io.CoFindExtent(file, 8193)->bytes, 8191u);
                    EXPECT_TRUE(io.CoFindExtent(file, 8193)->is_data);
                    EXPECT_EQ(CoRange(io, IoOpcode::kDiscard, file, 8192, 4096), 0);
                    EXPECT_FALSE(io.CoFindExtent(file, 8192)->is_data);
                    EXPECT_EQ(CoRange(io, IoOpcode::kWriteZeroes, file, 0, 4096), 0);
                    EXPECT_TRUE(io.CoFindExtent(file, 0)->is_data);
                    EXPECT_EQ(io.CoStat(file)->allocated_bytes, 8192u);
                    EXPECT_EQ(io.CoFindExtent(file, 1 << 20)->bytes, 0u);
                    io.CoClose(file);
                  })
                  .ok());
}

TEST(SimulatedFiles, RefuseWhatAHostRefuses) {
  SimulatedDisk disk({.io_alignment = 512, .capacity_bytes = 8192});
  disk.Put("a", "x");
  auto engine = Simulated(&disk);
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    IoBackend& io = engine->io();
                    EXPECT_EQ(io.CoOpen("b", {}).status().code(), absl::StatusCode::kNotFound);
                    EXPECT_EQ(io.CoOpen("a", {.create = true}).status().code(),
                              absl::StatusCode::kAlreadyExists);
                    auto read_only = io.CoOpen("a", {});
                    EXPECT_EQ(CoWriteText(io, *read_only, 0, "x"), -EBADF);
                    io.CoClose(*read_only);
                    EXPECT_EQ(CoReadText(io, *read_only, 0, 1), StrCat("error ", EBADF));
                    auto direct = io.CoOpen("a", {.writable = true, .direct = true});
                    EXPECT_EQ(io.CoStat(*direct)->io_alignment, 512u);
                    EXPECT_EQ(CoWriteText(io, *direct, 1, std::string(512, 'x')), -EINVAL);
                    EXPECT_EQ(CoRange(io, IoOpcode::kWriteZeroes, *direct, 0, 8192), 0);
                    EXPECT_EQ(CoRange(io, IoOpcode::kWriteZeroes, *direct, 0, 12288), -ENOSPC);
                    EXPECT_EQ(CoRange(io, IoOpcode::kTruncate, *direct, uint64_t{1} << 60), -EFBIG);
                    io.CoClose(*direct);
                  })
                  .ok());
}

TEST(SimulatedFiles, LocksNameTheirHolder) {
  SimulatedDisk disk;
  disk.Put("a", "x");
  disk.HoldLock("a", 7, "process 4711 (qemu)");
  auto engine = Simulated(&disk);
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    IoBackend& io = engine->io();
                    const IoFile first = CoOpenOrFail(*engine, "a");
                    const IoFile second = CoOpenOrFail(*engine, "a");
                    const absl::Status refused = io.LockBytes(first, {5, 6, 7});
                    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
                    EXPECT_NE(std::string(refused.message()).find("4711"), std::string::npos);
                    EXPECT_TRUE(io.ProbeLocks(second, {5, 6}).ok());  // nothing was taken
                    EXPECT_TRUE(io.LockBytes(first, {5}).ok());
                    EXPECT_FALSE(io.ProbeLocks(second, {5}).ok());
                    EXPECT_TRUE(io.ProbeLocks(first, {5}).ok());
                    io.CoClose(first);
                    EXPECT_TRUE(io.ProbeLocks(second, {5}).ok());
                    io.CoClose(second);
                  })
                  .ok());
}

TEST(SimulatedSchedule, CompletionOrderIsTheDecidersChoice) {
  std::vector<std::string> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    RandomDecider decider(seed);
    SimulatedDisk disk;
    disk.Put("a", "-");
    auto engine = Simulated(&disk, &decider);
    ASSERT_TRUE(engine
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      const IoFile file = CoOpenOrFail(*engine, "a");
                      TaskScope scope("writers");
                      for (const char* text : {"1", "2"}) {
                        scope.Spawn("writer", [&, text]() MILLRACE_MAY_SUSPEND {
                          CoWriteText(engine->io(), file, 0, text);
                        });
                      }
                      EXPECT_TRUE(scope.CoJoin().ok());
                      engine->io().CoClose(file);
                    })
                    .ok());
    seen.push_back(disk.Contents("a"));
  }
  EXPECT_TRUE(std::count(seen.begin(), seen.end(), "1") > 0);
  EXPECT_TRUE(std::count(seen.begin(), seen.end(), "2") > 0);
}

// One write of four sectors whose outcome is `detail`; returns its result and the sectors written.
std::pair<int64_t, std::string> WriteEndsWith(std::string_view detail) {
  OneAnswer decider(ChoiceKind::kOutcome, detail);
  SimulatedDisk disk;
  disk.Put("a", std::string(2048, '-'));
  auto engine = Simulated(&disk, &decider);
  int64_t result = 0;
  EXPECT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoOpenOrFail(*engine, "a");
                    result = CoWriteText(engine->io(), file, 0, std::string(2048, 'x'));
                    engine->io().CoClose(file);
                  })
                  .ok());
  std::string sectors;
  for (size_t i = 0; i < 4; ++i) sectors += disk.Contents("a")[i * 512 + 511];
  return {result, sectors};
}

TEST(SimulatedSchedule, EveryOutcomeHasItsEffect) {
  using Ending = std::pair<int64_t, std::string>;
  EXPECT_EQ(WriteEndsWith("ok"), Ending(2048, "xxxx"));
  EXPECT_EQ(WriteEndsWith("error after effect"), Ending(-EIO, "xxxx"));
  EXPECT_EQ(WriteEndsWith("no space"), Ending(-ENOSPC, "----"));
  EXPECT_EQ(WriteEndsWith("torn"), Ending(-EIO, "x---"));
}

TEST(SimulatedSchedule, LatencyTakesVirtualTimeAndOverlaps) {
  SimulatedDisk disk;
  disk.Put("a", "x");
  auto engine = Simulated(&disk);
  engine->simulated_io()->SetLatency(Operation::kRead, 5 * kMillisecond);
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoOpenOrFail(*engine, "a");
                    TaskScope scope("readers");
                    for (int i = 0; i < 10; ++i) {
                      scope.Spawn("reader", [&]() MILLRACE_MAY_SUSPEND {
                        EXPECT_EQ(CoReadText(engine->io(), file, 0, 1), "x");
                      });
                    }
                    EXPECT_TRUE(scope.CoJoin().ok());
                    engine->io().CoClose(file);
                  })
                  .ok());
  EXPECT_EQ(engine->clock().Now(), 5 * kMillisecond);
}

TEST(SimulatedFailures, HitTheNthMatchingOperation) {
  SimulatedDisk disk;
  disk.Put("a", "x");
  disk.Put("b", "x");
  auto engine = Simulated(&disk);
  SimulatedIo& io = *engine->simulated_io();
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile a = CoOpenOrFail(*engine, "a");
                    const IoFile b = CoOpenOrFail(*engine, "b");
                    io.Fail({.operation = Operation::kRead, .path = "a", .nth = 2});
                    EXPECT_EQ(CoReadText(io, a, 0, 1), "x");
                    EXPECT_EQ(CoReadText(io, b, 0, 1), "x");
                    EXPECT_EQ(CoReadText(io, a, 0, 1), StrCat("error ", EIO));
                    EXPECT_EQ(CoReadText(io, a, 0, 1), "x");
                    io.Fail({.error_number = ENOSPC, .is_persistent = true});
                    EXPECT_EQ(CoReadText(io, a, 0, 1), StrCat("error ", ENOSPC));
                    EXPECT_EQ(CoWriteText(io, b, 0, "y"), -ENOSPC);
                    EXPECT_EQ(ErrnoOf(io.CoStat(a).status()), ENOSPC);
                    EXPECT_EQ(io.failed(), 4u);
                    io.ClearFailures();
                    EXPECT_EQ(CoReadText(io, b, 0, 1), "x");
                    io.CoClose(a);
                    io.CoClose(b);
                  })
                  .ok());
  EXPECT_EQ(io.completed(Operation::kRead), 6u);
}

TEST(SimulatedCrash, ASyncCoversOnlyWhatCompletedBeforeItWasIssued) {
  SimulatedDisk disk;
  disk.Put("a", "--");
  auto engine = Simulated(&disk);
  engine->simulated_io()->SetLatency(Operation::kSync, 10);
  engine->simulated_io()->SetLatency(Operation::kWrite, 5);
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    IoBackend& io = engine->io();
                    const IoFile file = CoOpenOrFail(*engine, "a");
                    EXPECT_EQ(CoWriteText(io, file, 0, "1"), 1);
                    TaskScope scope("both");
                    scope.Spawn("sync", [&]() MILLRACE_MAY_SUSPEND {
                      EXPECT_EQ(CoRange(io, IoOpcode::kSync, file), 0);
                    });
                    scope.Spawn("write", [&]() MILLRACE_MAY_SUSPEND {
                      EXPECT_EQ(CoWriteText(io, file, 1, "2"), 1);  // completes before the sync
                    });
                    EXPECT_TRUE(scope.CoJoin().ok());
                    io.CoClose(file);
                  })
                  .ok());
  EXPECT_EQ(disk.Contents("a"), "12");
  EXPECT_EQ(disk.DurableContents("a"), "1-");
  std::vector<UnflushedPiece> pieces;
  auto after = disk.AfterCrash([&](const UnflushedPiece& piece) {
    pieces.push_back(piece);
    return true;
  });
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].offset, 1u);
  EXPECT_EQ(after->Contents("a"), "12");
}

TEST(SimulatedCrash, KeepsExactlyTheChosenSectors) {
  SimulatedDisk disk;
  disk.Put("a", std::string(2048, '-'));
  auto engine = Simulated(&disk);
  std::unique_ptr<SimulatedDisk> left;
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    IoBackend& io = engine->io();
                    const IoFile file = CoOpenOrFail(*engine, "a");
                    EXPECT_EQ(CoWriteText(io, file, 256, std::string(1536, '1')), 1536);
                    EXPECT_EQ(CoWriteText(io, file, 1024, std::string(512, '2')), 512);
                    EXPECT_EQ(CoRange(io, IoOpcode::kTruncate, file, 4096), 0);
                    // Sectors 0 and 2 of the first write, not the second write, not the new size.
                    left = engine->simulated_io()->Crash([](const UnflushedPiece& piece) {
                      return piece.effect == 0 && (piece.offset == 256 || piece.offset == 1024);
                    });
                    EXPECT_EQ(CoWriteText(io, file, 0, "x"), -EIO);
                    EXPECT_EQ(CoRange(io, IoOpcode::kSync, file), -EIO);
                    io.CoClose(file);
                  })
                  .ok());
  EXPECT_EQ(left->Contents("a"), std::string(256, '-') + std::string(256, '1') +
                                     std::string(512, '-') + std::string(512, '1') +
                                     std::string(512, '-'));
  EXPECT_EQ(left->DurableContents("a"), left->Contents("a"));
}

// A copy that has not completed may have been made in part, of what its source held by then.
TEST(SimulatedCrash, SectorsOfACopyInFlightMaySurvive) {
  for (const bool can_copy_range : {true, false}) {
    SimulatedDisk disk(SimulatedDisk::Options{.can_copy_range = can_copy_range});
    disk.Put("source", std::string(512, '1') + std::string(100, '2'));
    disk.Put("target", std::string(1536, '-'));
    auto engine = Simulated(&disk);
    std::unique_ptr<SimulatedDisk> all;
    std::unique_ptr<SimulatedDisk> some;
    engine->simulated_io()->SetLatency(Operation::kCopyRange, 10);
    ASSERT_TRUE(engine
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      const IoFile source = CoOpenOrFail(*engine, "source");
                      const IoFile target = CoOpenOrFail(*engine, "target");
                      TaskScope scope("both");
                      scope.Spawn("copy", [&]() MILLRACE_MAY_SUSPEND {
                        IoRequest request;
                        request.opcode = IoOpcode::kCopyRange;
                        request.file = target;
                        request.offset = 512;
                        request.source = source;
                        request.source_offset = 0;
                        request.bytes = 1024;  // more than the source has
                        request.label = "copy";
                        EXPECT_LT(CoSubmit(engine->io(), request), 0);
                      });
                      scope.Spawn("crash", [&]() MILLRACE_MAY_SUSPEND {
                        all = engine->simulated_io()->Crash([](const UnflushedPiece& piece) {
                          EXPECT_TRUE(piece.is_in_flight);
                          return true;
                        });
                        some = engine->simulated_io()->Crash(
                            [](const UnflushedPiece& piece) { return piece.offset == 512; });
                      });
                      EXPECT_TRUE(scope.CoJoin().ok());
                      engine->io().CoClose(source);
                      engine->io().CoClose(target);
                    })
                    .ok());
    const std::string before(1536, '-');
    const std::string start = std::string(512, '-') + std::string(512, '1');
    EXPECT_EQ(all->Contents("target"),
              can_copy_range ? start + std::string(100, '2') + std::string(412, '-') : before);
    EXPECT_EQ(some->Contents("target"), can_copy_range ? start + std::string(512, '-') : before);
  }
}

TEST(SimulatedCrash, WritesInFlightMaySurvive) {
  SimulatedDisk disk;
  disk.Put("a", "-");
  auto engine = Simulated(&disk);
  std::unique_ptr<SimulatedDisk> left;
  engine->simulated_io()->SetLatency(Operation::kWrite, 10);
  ASSERT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile file = CoOpenOrFail(*engine, "a");
                    TaskScope scope("both");
                    scope.Spawn("write", [&]() MILLRACE_MAY_SUSPEND {
                      EXPECT_EQ(CoWriteText(engine->io(), file, 0, "1"), -EIO);
                    });
                    scope.Spawn("crash", [&]() MILLRACE_MAY_SUSPEND {
                      left = engine->simulated_io()->Crash([](const UnflushedPiece& piece) {
                        EXPECT_TRUE(piece.is_in_flight);
                        return true;
                      });
                    });
                    EXPECT_TRUE(scope.CoJoin().ok());
                    engine->io().CoClose(file);
                  })
                  .ok());
  EXPECT_EQ(left->Contents("a"), "1");
  EXPECT_EQ(disk.Contents("a"), "-");
}

// Writes 1 and syncs, then writes 2, over and over with growing numbers: after a crash anywhere,
// the file holds a number no older than the last sync that was reported, whatever was chosen.
TEST(SimulatedCrash, WhatWasSyncedSurvivesEveryCrash) {
  int crashes = 0;
  int losses = 0;
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    RandomDecider decider(seed, {.crash_one_in = 10});
    SimulatedDisk disk;
    disk.Put("a", "0");
    auto engine = Simulated(&disk, &decider);
    engine->simulated_io()->SetCrashPoints(true);
    char synced = '0';
    char written = '0';
    EXPECT_TRUE(engine
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      IoBackend& io = engine->io();
                      auto file = io.CoOpen("a", {.writable = true});
                      if (!file.ok()) return;
                      for (char number = '1'; number <= '9'; ++number) {
                        const int64_t result = CoWriteText(io, *file, 0, std::string(1, number));
                        if (result == 1) written = number;
                        if (number % 2 == 0 && CoRange(io, IoOpcode::kSync, *file) == 0) {
                          synced = number;
                        }
                      }
                      io.CoClose(*file);
                    })
                    .ok());
    if (!engine->simulated_io()->is_crashed()) continue;
    ++crashes;
    auto left = engine->simulated_io()->TakeCrashedDisk();
    const char found = left->Contents("a")[0];
    EXPECT_GE(found, synced) << "seed " << seed;
    EXPECT_LE(found, written + 1) << "seed " << seed;
    losses += found < written;
  }
  EXPECT_GT(crashes, 300);
  EXPECT_GT(losses, 20);  // else the crashes would be too kind to find anything
}

// Two sectors unflushed: each of the four subsets is left by some crash.
TEST(SimulatedCrash, EverySubsetOfFewPiecesIsChosen) {
  std::set<std::string> left;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    RandomDecider decider(seed, {.crash_one_in = 3});
    SimulatedDisk disk;
    disk.Put("a", std::string(1024, '-'));
    auto engine = Simulated(&disk, &decider);
    EXPECT_TRUE(engine
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      auto file = engine->io().CoOpen("a", {.writable = true});
                      if (!file.ok()) return;
                      engine->simulated_io()->SetCrashPoints(true);
                      CoWriteText(engine->io(), *file, 0, std::string(1024, '+'));
                      engine->io().CoClose(*file);
                    })
                    .ok());
    if (!engine->simulated_io()->is_crashed()) continue;
    const std::string content = engine->simulated_io()->TakeCrashedDisk()->Contents("a");
    left.insert({content.front(), content.back()});
  }
  EXPECT_EQ(left, (std::set<std::string>{"--", "-+", "+-", "++"}));
}

// A file that stalls keeps everything waiting that is asked of it; another file does not care.
TEST(SimulatedLatency, AStalledFileHoldsUpItsOwnRequestsOnly) {
  class StallsTheFirst final : public Decider {
   public:
    size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
      if (kind != ChoiceKind::kLatency || std::exchange(has_stalled_, true)) return 0;
      return options.size() - 1;
    }

   private:
    bool has_stalled_ = false;
  };
  StallsTheFirst decider;
  SimulatedDisk disk;
  disk.Put("a", "x");
  disk.Put("b", "x");
  auto engine = Simulated(&disk, &decider);
  std::string order;
  EXPECT_TRUE(engine
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    const IoFile a = CoOpenOrFail(*engine, "a");
                    const IoFile b = CoOpenOrFail(*engine, "b");
                    engine->simulated_io()->SetLatencyChoices(true);
                    TaskScope scope("readers");
                    auto read = [&](IoFile file, char name) {
                      scope.Spawn("reader", [&, file, name]() MILLRACE_MAY_SUSPEND {
                        CoReadText(engine->io(), file, 0, 1);
                        order += name;
                      });
                    };
                    read(a, '1');
                    read(a, '2');
                    read(b, '3');
                    EXPECT_TRUE(scope.CoJoin().ok());
                    engine->io().CoClose(a);
                    engine->io().CoClose(b);
                  })
                  .ok());
  EXPECT_EQ(order, "312");
  EXPECT_GE(engine->clock().Now(), 200 * kMillisecond);
}

TEST(SimulatedSchedule, EqualSeedsGiveEqualTraces) {
  auto run = [](uint64_t seed) {
    RandomDecider decider(seed, {.outcome_one_in = 5});
    SimulatedDisk disk;
    disk.Put("a", std::string(65536, '-'));
    auto engine = Simulated(&disk, &decider);
    EXPECT_TRUE(engine
                    ->Run([&]() MILLRACE_MAY_SUSPEND {
                      auto file = engine->io().CoOpen("a", {.writable = true});
                      if (!file.ok()) return;
                      TaskScope scope("writers");
                      for (uint64_t i = 0; i < 5; ++i) {
                        scope.Spawn("writer", [&, i]() MILLRACE_MAY_SUSPEND {
                          for (uint64_t j = 0; j < 5; ++j) {
                            CoWriteText(engine->io(), *file, i * 512 + j,
                                        std::string(1024, static_cast<char>('a' + i)));
                          }
                        });
                      }
                      EXPECT_TRUE(scope.CoJoin().ok());
                      engine->io().CoClose(*file);
                    })
                    .ok());
    return std::pair(engine->scheduler().trace_hash(), disk.Contents("a"));
  };
  EXPECT_NE(run(1).first, run(2).first);
  for (uint64_t seed = 1; seed <= 50; ++seed) EXPECT_EQ(run(seed), run(seed)) << seed;
}

TEST(SimulatedDeathTest, ClosingAFileInUseIsCaught) {
  SimulatedDisk disk;
  disk.Put("a", "x");
  auto engine = Simulated(&disk);
  EXPECT_DEATH((void)engine->Run([&]() MILLRACE_MAY_SUSPEND {
    const IoFile file = CoOpenOrFail(*engine, "a");
    engine->simulated_io()->SetLatency(Operation::kRead, 10);
    TaskScope scope("both");
    scope.Spawn("read", [&]() MILLRACE_MAY_SUSPEND { CoReadText(engine->io(), file, 0, 1); });
    CoYield();
    engine->io().CoClose(file);
    return scope.CoJoin();
  }),
               "closed with requests in flight");
}

}  // namespace
}  // namespace millrace::simulated_io_test
