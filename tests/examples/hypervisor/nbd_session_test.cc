#include "examples/hypervisor/nbd/session.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "millrace/engine/scheduler/decider.h"
#include "tests/examples/hypervisor/nbd_wire.h"
#include "tests/examples/hypervisor/nbd_world.h"
#include "tests/support/seeds.h"

namespace millrace::nbd_session_test {
namespace {

using nbd_wire::Answer;
using nbd_wire::Opening;
using nbd_wire::Reader;
using nbd_wire::Request;
using nbd_wire::SimpleOpening;
using nbd_wire::Write;

// How long the server's part of the opening is.
size_t OpeningAnswerBytes(const std::string& opening) {
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = opening;
  world.Pump();
  return wire.to_client.size();
}

// Everything answered after the opening, which `before` other bytes came before; reads of
// `read_bytes` each.
std::map<uint64_t, Answer> AnswersOf(const NbdWire& wire, const std::string& opening,
                                     size_t read_bytes = 0, size_t before = 0) {
  const size_t skipped = OpeningAnswerBytes(opening) + before;
  std::map<uint64_t, Answer> answers;
  if (wire.to_client.size() < skipped) return answers;
  Reader reader(std::string_view(wire.to_client).substr(skipped));
  while (auto answer = reader.TakeAnswer(read_bytes)) {
    EXPECT_TRUE(answer->is_last) << answer->cookie;
    EXPECT_TRUE(answers.emplace(answer->cookie, *answer).second)
        << answer->cookie << " is answered twice";
  }
  EXPECT_EQ(reader.rest(), "");
  return answers;
}

// One client that sends all this at once.
std::map<uint64_t, Answer> Ask(const std::string& requests, NbdWorld::Settings settings = {},
                               const std::string& opening = Opening("disk"),
                               size_t read_bytes = 0) {
  NbdWire wire;
  NbdWorld world(settings);
  world.Connect(wire);
  wire.to_server = opening + requests;
  world.Pump();
  return AnswersOf(wire, opening, read_bytes);
}

TEST(NbdSession, WhatWasWrittenIsRead) {
  const std::string data(1000, 'x');
  const auto answers = Ask(Write(1, 100, data) + Request(nbd::kCmdFlush, 2, 0, 0));
  EXPECT_EQ(answers.at(1).error, nbd::kOk);
  EXPECT_EQ(answers.at(2).error, nbd::kOk);

  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = Opening("disk") + Write(1, 100, data);
  world.Pump();
  wire.to_server += Request(nbd::kCmdRead, 2, 99, 1002);
  world.Pump();
  const Answer read = AnswersOf(wire, Opening("disk")).at(2);
  EXPECT_EQ(read.chunk, nbd::kChunkOffsetData);
  EXPECT_EQ(read.offset, 99u);
  EXPECT_EQ(read.data, std::string(1, '\0') + data + std::string(1, '\0'));
}

TEST(NbdSession, ZeroesAreToldNotSent) {
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = Opening("disk") + Write(1, 4096, "x");
  world.Pump();
  const size_t sent = wire.to_client.size();
  wire.to_server += Request(nbd::kCmdRead, 2, 0, 4096) + Request(nbd::kCmdRead, 3, 1, 4096);
  world.Pump();
  EXPECT_LT(wire.to_client.size() - sent, 4096u + 100);
  const auto answers = AnswersOf(wire, Opening("disk"));
  EXPECT_EQ(answers.at(2).chunk, nbd::kChunkOffsetHole);
  EXPECT_EQ(answers.at(2).offset, 0u);
  EXPECT_EQ(answers.at(2).data, std::string(4096, '\0'));
  EXPECT_EQ(answers.at(3).chunk, nbd::kChunkOffsetData);
  EXPECT_EQ(answers.at(3).data, std::string(4095, '\0') + "x");
}

TEST(NbdSession, SimpleRepliesCarryTheData) {
  const auto answers =
      Ask(Request(nbd::kCmdRead, 5, 0, 300) + Request(77, 6, 0, 0), {}, SimpleOpening("disk"), 300);
  EXPECT_EQ(answers.at(5).data, std::string(300, '\0'));
  EXPECT_FALSE(answers.at(5).is_structured);
  EXPECT_EQ(answers.at(6).error, nbd::kEinval);
  EXPECT_FALSE(answers.at(6).is_structured);
}

TEST(NbdSession, ErrorsAreToldAndTheSessionGoesOn) {
  const auto answers =
      Ask(Request(77, 1, 0, 0) + Request(nbd::kCmdRead, 2, 1 << 30, 512) +
          Write(3, 1 << 30, std::string(512, 'x')) + Request(nbd::kCmdRead, 4, 0, 512, 0x8000) +
          Request(nbd::kCmdRead, 5, 0, 512));
  EXPECT_EQ(answers.at(1).error, nbd::kEinval);
  EXPECT_EQ(answers.at(1).data, "invalid request type (77) received");
  EXPECT_EQ(answers.at(2).error, nbd::kEinval);
  EXPECT_EQ(answers.at(3).error, nbd::kEnospc);
  EXPECT_EQ(answers.at(4).error, nbd::kEinval);
  EXPECT_EQ(answers.at(5).error, nbd::kOk);
}

TEST(NbdSession, AReadOnlyExportRefusesWritesAndTakesTheirPayloadAway) {
  const auto answers =
      Ask(Write(1, 0, std::string(40'000, 'x')) + Request(nbd::kCmdTrim, 2, 0, 512) +
              Request(nbd::kCmdWriteZeroes, 3, 0, 512) + Request(nbd::kCmdRead, 4, 0, 512),
          {.is_writable = false});
  EXPECT_EQ(answers.at(1).error, nbd::kEperm);
  EXPECT_EQ(answers.at(2).error, nbd::kEperm);
  EXPECT_EQ(answers.at(3).error, nbd::kEperm);
  EXPECT_EQ(answers.at(4).data, std::string(512, '\0'));
}

TEST(NbdSession, EveryCommandIsCarriedOut) {
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = Opening("disk") + Write(1, 0, std::string(4096, 'x'), nbd::kFlagFua);
  world.Pump();
  wire.to_server += Request(nbd::kCmdWriteZeroes, 2, 512, 512, nbd::kFlagFua | nbd::kFlagNoHole) +
                    Request(nbd::kCmdTrim, 3, 2048, 1024, nbd::kFlagFua) +
                    Request(nbd::kCmdCache, 4, 0, 4096) + Request(nbd::kCmdFlush, 5, 0, 0);
  world.Pump();
  wire.to_server += Request(nbd::kCmdRead, 6, 0, 2048, nbd::kFlagDf) +
                    Request(nbd::kCmdRead, 7, 0, 0) + Request(nbd::kCmdWrite, 8, 0, 0);
  world.Pump();
  const auto answers = AnswersOf(wire, Opening("disk"));
  for (uint64_t cookie = 1; cookie <= 8; ++cookie) EXPECT_EQ(answers.at(cookie).error, nbd::kOk);
  EXPECT_EQ(answers.at(6).data,
            std::string(512, 'x') + std::string(512, '\0') + std::string(1024, 'x'));
  EXPECT_EQ(answers.at(7).chunk, nbd::kChunkNone);
}

// Each request by itself, so that the order in which they reach the disk is theirs.
std::vector<std::string> OperationsOf(const std::vector<std::string>& requests,
                                      NbdWorld::Settings settings = {}) {
  NbdWire wire;
  NbdWorld world(settings);
  world.Connect(wire);
  wire.to_server = Opening("disk");
  for (const std::string& request : requests) {
    wire.to_server += request;
    world.Pump();
  }
  for (const auto& [cookie, answer] : AnswersOf(wire, Opening("disk"))) {
    EXPECT_EQ(answer.error, nbd::kOk) << cookie;
  }
  return world.TakeOperations();
}

std::vector<std::string> OneOfEach(uint16_t flags) {
  return {Write(1, 0, std::string(512, 'x'), flags),
          Request(nbd::kCmdWriteZeroes, 2, 512, 1024, flags),
          Request(nbd::kCmdTrim, 3, 2048, 512, flags)};
}

TEST(NbdSession, WhatIsToBeDurableIsFlushedBeforeItIsAnswered) {
  using Operations = std::vector<std::string>;
  EXPECT_EQ(OperationsOf(OneOfEach(0)),
            (Operations{"write 0+512", "zero 512+1024", "discard 2048+512"}));
  const Operations durable = {"write 0+512 fua", "zero 512+1024", "flush", "discard 2048+512",
                              "flush"};
  EXPECT_EQ(OperationsOf(OneOfEach(nbd::kFlagFua)), durable);
  EXPECT_EQ(OperationsOf(OneOfEach(0), {.is_writethrough = true}), durable);
  EXPECT_EQ(OperationsOf({Request(nbd::kCmdFlush, 1, 0, 0)}), Operations{"flush"});
  // Nothing is written, so nothing is owed.
  EXPECT_EQ(OperationsOf({Request(nbd::kCmdRead, 1, 0, 512, nbd::kFlagFua)}), Operations{});
}

TEST(NbdSession, ADurableRequestIsNotAnsweredBeforeItsFlush) {
  // Step by step: no answer may be there while the flush is under way.
  for (const uint16_t command : {nbd::kCmdWriteZeroes, nbd::kCmdTrim}) {
    NbdWire wire;
    NbdWorld world;
    NbdSession& session = world.Connect(wire);
    wire.to_server = Opening("disk");
    world.Pump();
    const size_t before = wire.to_client.size();
    wire.to_server += Request(command, 1, 0, 512, nbd::kFlagFua);
    session.Service();
    bool has_flushed = false;
    while (world.engine().HasWork() || world.engine().io().in_flight() > 0) {
      for (const std::string& each : world.TakeOperations()) has_flushed |= each == "flush";
      if (!has_flushed) {
        EXPECT_EQ(wire.to_client.size(), before);
      }
      world.engine().PollOnce(1);
      session.GoOn();
    }
    world.Pump();
    EXPECT_TRUE(has_flushed);
    EXPECT_GT(wire.to_client.size(), before);
  }
}

TEST(NbdSession, ZeroesThatMustKeepTheirSpaceKeepIt) {
  EXPECT_EQ(OperationsOf({Request(nbd::kCmdWriteZeroes, 1, 0, 512, nbd::kFlagNoHole)}),
            (std::vector<std::string>{"zero 0+512 keep"}));
}

TEST(NbdSession, BlockStatusTellsHolesAndData) {
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = Opening("disk") + Write(1, 1024, std::string(1024, 'x'));
  world.Pump();
  wire.to_server += Request(nbd::kCmdBlockStatus, 2, 0, 64 << 10) +
                    Request(nbd::kCmdBlockStatus, 3, 1000, 2000, nbd::kFlagReqOne);
  world.Pump();
  const auto answers = AnswersOf(wire, Opening("disk"));
  EXPECT_EQ(answers.at(2).chunk, nbd::kChunkBlockStatus);
  EXPECT_EQ(answers.at(2).data,
            nbd_wire::Big(uint32_t{0}, uint32_t{1024}, uint32_t{3}, uint32_t{1024}, uint32_t{0},
                          uint32_t{(64 << 10) - 2048}, uint32_t{3}));
  EXPECT_EQ(answers.at(3).data, nbd_wire::Big(uint32_t{0}, uint32_t{24}, uint32_t{3}));
}

// Length and state of each extent in an answer.
std::vector<std::pair<uint32_t, uint32_t>> ExtentsOf(const Answer& answer) {
  const auto* data = reinterpret_cast<const uint8_t*>(answer.data.data());
  std::vector<std::pair<uint32_t, uint32_t>> extents;
  for (size_t at = 4; at + 8 <= answer.data.size(); at += 8) {
    extents.emplace_back(nbd::ReadBig<uint32_t>(data + at), nbd::ReadBig<uint32_t>(data + at + 4));
  }
  return extents;
}

TEST(NbdSession, BlockStatusOfMoreThanAnAnswerHoldsIsOfAsManyAsItHolds) {
  constexpr uint32_t kDiskBytes = 4 << 20;
  constexpr size_t kExtentsMax = 2048;
  NbdWire wire;
  NbdWorld world({.disk_bytes = kDiskBytes});
  world.Connect(wire);
  wire.to_server = Opening("disk");
  // Data in every other sector.
  for (uint64_t i = 0; i < kExtentsMax; ++i) {
    wire.to_server += Write(i, i * 1024, std::string(512, 'x'));
  }
  world.Pump();
  wire.to_server += Request(nbd::kCmdBlockStatus, 100'000, 0, kDiskBytes) +
                    Request(nbd::kCmdBlockStatus, 100'001, 512, kExtentsMax * 512) +
                    Request(nbd::kCmdBlockStatus, 100'002, 0, kExtentsMax * 512 + 1);
  world.Pump();
  const auto answers = AnswersOf(wire, Opening("disk"));
  for (const uint64_t cookie : {100'000u, 100'001u, 100'002u}) {
    const auto extents = ExtentsOf(answers.at(cookie));
    ASSERT_EQ(extents.size(), kExtentsMax) << cookie;
    for (size_t i = 0; i < extents.size(); ++i) {
      ASSERT_EQ(extents[i].first, 512u) << i;
      ASSERT_EQ(extents[i].second, (i + cookie % 2) % 2 == 0 ? 0u : 3u) << i;
    }
  }
}

TEST(NbdSession, BlockStatusEndsWhereTheRequestEnds) {
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = Opening("disk") + Write(1, 0, std::string(4096, 'x'));
  world.Pump();
  wire.to_server += Request(nbd::kCmdBlockStatus, 2, 100, 1000) +
                    Request(nbd::kCmdBlockStatus, 3, 4000, 200) +
                    Request(nbd::kCmdBlockStatus, 4, (64 << 10) - 1, 1);
  world.Pump();
  const auto answers = AnswersOf(wire, Opening("disk"));
  using Extents = std::vector<std::pair<uint32_t, uint32_t>>;
  EXPECT_EQ(ExtentsOf(answers.at(2)), (Extents{{1000, 0}}));
  EXPECT_EQ(ExtentsOf(answers.at(3)), (Extents{{96, 0}, {104, 3}}));
  EXPECT_EQ(ExtentsOf(answers.at(4)), (Extents{{1, 3}}));
}

TEST(NbdSession, EachAnswerIsThatOfItsRequest) {
  // Cookies of all 64 bits, contents that tell the offset, 16 at once.
  constexpr uint64_t kCookie = 0x8123'4567'89ab'cd00;
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = Opening("disk");
  for (uint64_t i = 0; i < 16; ++i) {
    wire.to_server += Write(i, i * 512, std::string(512, static_cast<char>('a' + i)));
  }
  world.Pump();
  for (uint64_t i = 0; i < 16; ++i) {
    wire.to_server += Request(nbd::kCmdRead, kCookie + i, i * 512, 512);
  }
  world.Pump();
  const auto answers = AnswersOf(wire, Opening("disk"));
  EXPECT_EQ(answers.size(), 32u);
  for (uint64_t i = 0; i < 16; ++i) {
    EXPECT_EQ(answers.at(kCookie + i).data, std::string(512, static_cast<char>('a' + i)));
    EXPECT_EQ(answers.at(kCookie + i).offset, i * 512);
  }
}

TEST(NbdSession, TheSameWhereverTheBytesAreCut) {
  const std::string script =
      Opening("disk") + Write(1, 0, std::string(700, 'a')) + Request(nbd::kCmdTrim, 2, 4096, 512) +
      Request(77, 3, 0, 0) + Write(4, 8192, std::string(100, 'b')) +
      Request(nbd::kCmdRead, 5, 16384, 600) + Request(nbd::kCmdDisconnect, 6, 0, 0);
  std::string whole;
  for (size_t piece : {SIZE_MAX, size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{27}, size_t{29},
                       size_t{512}}) {
    NbdWire wire;
    NbdWorld world;
    wire.cut = [piece](size_t max) { return std::min(max, piece); };
    world.Connect(wire);
    wire.to_server = script;
    world.Pump();
    EXPECT_TRUE(wire.is_shut);
    const auto answers = AnswersOf(wire, Opening("disk"));
    EXPECT_EQ(answers.size(), 5u);
    std::string all;
    for (const auto& [cookie, answer] : answers) {
      all += std::to_string(cookie) + ":" + std::to_string(answer.error) + answer.data + ";";
    }
    if (whole.empty()) whole = all;
    EXPECT_EQ(all, whole) << piece;
  }
}

TEST(NbdSession, ASessionEndsCleanlyAtEveryByte) {
  std::string script = Opening("disk");
  for (uint64_t i = 0; i < 16; ++i) {
    script += i % 2 == 0 ? Write(i, i * 512, std::string(40, 'x'))
                         : Request(nbd::kCmdRead, i, i * 512, 512);
  }
  for (size_t sent = 0; sent <= script.size(); ++sent) {
    for (bool is_rude : {false, true}) {
      NbdWire wire;
      NbdWorld world;
      NbdSession& session = world.Connect(wire);
      wire.to_server = script.substr(0, sent);
      session.Service();  // requests are under way now
      (is_rude ? wire.is_broken : wire.client_has_ended) = true;
      world.Pump();
      EXPECT_TRUE(session.is_finished()) << sent << (is_rude ? " reset" : " ended");
    }
  }
}

TEST(NbdSession, TheServerCutsOffAtEveryByte) {
  std::string script = Opening("disk");
  for (uint64_t i = 0; i < 16; ++i) script += Write(i, i * 512, std::string(33, 'x'));
  for (size_t sent = 0; sent <= script.size(); sent += 3) {
    NbdWire wire;
    NbdWorld world;
    NbdSession& session = world.Connect(wire);
    wire.to_server = script.substr(0, sent);
    session.Service();
    session.Close();
    EXPECT_TRUE(wire.is_shut);
    world.Pump();
    EXPECT_TRUE(session.is_finished()) << sent;
  }
}

TEST(NbdSession, WhatWasAskedBeforeTheFarewellIsAnswered) {
  std::string requests;
  for (uint64_t i = 0; i < 16; ++i) requests += Request(nbd::kCmdRead, i, i * 512, 512);
  NbdWire wire;
  NbdWorld world;
  NbdSession& session = world.Connect(wire);
  wire.to_server = Opening("disk") + requests + Request(nbd::kCmdDisconnect, 99, 0, 0) +
                   Request(nbd::kCmdRead, 100, 0, 512);
  world.Pump();
  const auto answers = AnswersOf(wire, Opening("disk"));
  EXPECT_EQ(answers.size(), 16u);
  EXPECT_FALSE(answers.contains(100));
  EXPECT_TRUE(session.is_finished());
}

TEST(NbdSession, WrongMagicInTheMiddleIsTheEnd) {
  NbdWire wire;
  NbdWorld world;
  NbdSession& session = world.Connect(wire);
  wire.to_server = Opening("disk") + Request(nbd::kCmdRead, 1, 0, 512) + std::string(28, 'x');
  world.Pump();
  EXPECT_TRUE(session.is_finished());
}

TEST(NbdSession, APayloadTooLargeIsRefusedAndTheEnd) {
  NbdWire wire;
  NbdWorld world;
  NbdSession& session = world.Connect(wire);
  wire.to_server = Opening("disk") + Request(nbd::kCmdWrite, 1, 0, (32 << 20) + 1);
  world.Pump();
  EXPECT_EQ(AnswersOf(wire, Opening("disk")).at(1).error, nbd::kEinval);
  EXPECT_TRUE(session.is_finished());
}

TEST(NbdSession, AClientThatDoesNotReadIsNotReadFrom) {
  NbdWire wire;
  NbdWorld world;
  NbdSession& session = world.Connect(wire);
  wire.to_server = Opening("disk") + Write(1000, 0, "x");  // zeroes would be told, not sent
  world.Pump();
  wire.room = 0;
  for (uint64_t i = 0; i < 1000; ++i) wire.to_server += Request(nbd::kCmdRead, i, 0, 4096);
  world.Pump();
  EXPECT_FALSE(session.wants_read());
  EXPECT_TRUE(session.wants_write());
  EXPECT_GT(world.memory().taken(), 0u);
  EXPECT_LE(world.memory().taken(), NbdSession::kCommandsMax * 4096);
  // He reads on, and all is answered.
  wire.room = SIZE_MAX;
  world.Pump();
  EXPECT_EQ(AnswersOf(wire, Opening("disk")).size(), 1001u);
}

// Its next call of the other side finds no room or nothing to read, all later ones do.
void MakeLateOnce(NbdWire& wire) {
  wire.room = SIZE_MAX;
  wire.cut = [is_late = true](size_t max) mutable {
    return std::exchange(is_late, false) ? 0 : max;
  };
}

TEST(NbdSession, RoomThatItsOwnLastRepliesMakeIsNotForgotten) {
  constexpr uint64_t kReads = 2 * NbdSession::kCommandsMax + 1;
  for (const bool is_completion : {false, true}) {
    NbdWire wire;
    NbdWorld world;
    NbdSession& session = world.Connect(wire);
    wire.to_server = Opening("disk") + Write(1000, 0, "x");  // zeroes would be told, not sent
    world.Pump();
    wire.room = 0;
    for (uint64_t i = 0; i < kReads; ++i) wire.to_server += Request(nbd::kCmdRead, i, 0, 4096);
    world.Pump();
    ASSERT_EQ(session.in_flight(), 0u);
    ASSERT_FALSE(session.wants_read());
    // The client reads on when the session has just found that he does not, and that it must wait.
    MakeLateOnce(wire);
    is_completion ? session.GoOn() : session.Service();
    world.Pump();
    EXPECT_EQ(AnswersOf(wire, Opening("disk")).size(), kReads + 1) << is_completion;
  }
}

TEST(NbdSession, OptionsThatCameBeforeTheirTurnAreTakenWhenItComes) {
  const std::string opening = Opening("disk");
  NbdWire wire;
  NbdWorld world;
  wire.room = 18;  // the greeting
  world.Connect(wire);
  wire.to_server = opening + Request(nbd::kCmdFlush, 1, 0, 0);
  world.Pump();
  ASSERT_EQ(wire.read_bytes, wire.to_server.size());  // all of it waits in the session
  while (wire.to_client.size() < OpeningAnswerBytes(opening)) {
    const size_t before = wire.to_client.size();
    MakeLateOnce(wire);
    world.Pump();
    ASSERT_GT(wire.to_client.size(), before) << "the session is stuck";
  }
  EXPECT_EQ(AnswersOf(wire, opening).size(), 1u);
}

TEST(NbdSession, AFloodOfOptionsIsTakenNoFasterThanItsRepliesAreRead) {
  constexpr int kOptions = 20'000;
  NbdWire wire;
  NbdWorld world;
  wire.room = 18;
  NbdSession& session = world.Connect(wire);
  wire.to_server = nbd_wire::Flags();
  for (int i = 0; i < kOptions; ++i) wire.to_server += nbd_wire::Opt(nbd::kOptList);
  world.Pump();
  EXPECT_FALSE(session.wants_read());
  EXPECT_LE(wire.read_bytes, 64u << 10);
  wire.room = SIZE_MAX;
  world.Pump();
  Reader reader(wire.to_client);
  EXPECT_TRUE(reader.TakeGreeting());
  int answers = 0;
  while (reader.TakeOptionAnswer()) ++answers;
  EXPECT_EQ(answers, 2 * kOptions);
}

TEST(NbdSession, TooMuchMemoryForAllMustBeWaitedFor) {
  NbdWire greedy;
  NbdWire other;
  NbdWorld world({.disk_bytes = 4 << 20, .memory_bytes = 3 << 20});
  world.Connect(greedy);
  NbdSession& second = world.Connect(other);
  // Zeroes would be told, and their memory be free.
  greedy.to_server = Opening("disk") + Write(9, 0, "x");
  other.to_server = Opening("disk");
  world.Pump();
  greedy.room = 0;
  greedy.to_server += Request(nbd::kCmdRead, 1, 0, 2 << 20);
  world.Pump();
  other.to_server += Request(nbd::kCmdRead, 1, 0, 4096) + Request(nbd::kCmdRead, 2, 0, 2 << 20);
  world.Pump();
  EXPECT_EQ(AnswersOf(other, Opening("disk")).size(), 1u);
  EXPECT_TRUE(second.waits_for_memory());
  greedy.room = SIZE_MAX;
  world.Pump();
  EXPECT_EQ(AnswersOf(other, Opening("disk")).size(), 2u);
}

TEST(NbdSession, TheHandshakeHasTenSeconds) {
  NbdWire slow;
  NbdWire ready;
  NbdWorld world;
  NbdSession& session = world.Connect(slow);
  NbdSession& other = world.Connect(ready);
  slow.to_server = nbd_wire::Flags() + nbd_wire::Opt(nbd::kOptList);
  ready.to_server = Opening("disk");
  world.Pump();
  EXPECT_FALSE(session.is_finished());
  EXPECT_EQ(world.engine().NextDeadline(), 10 * kSecond);
  world.PassTime();
  EXPECT_TRUE(session.is_finished());
  EXPECT_TRUE(slow.is_shut);
  EXPECT_FALSE(other.is_finished());
}

TEST(NbdSession, WhoEndsWithoutReadingHasTenSecondsToo) {
  NbdWire wire;
  NbdWorld world;
  NbdSession& session = world.Connect(wire);
  wire.to_server = Opening("disk");
  world.Pump();
  wire.room = 0;
  wire.to_server += Request(nbd::kCmdRead, 1, 0, 512) + Request(nbd::kCmdDisconnect, 2, 0, 0);
  world.Pump();
  EXPECT_FALSE(session.is_finished());
  world.PassTime();
  EXPECT_TRUE(session.is_finished());
}

TEST(NbdSession, AnExportThatEndsAnswersWhatComesLate) {
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = Opening("disk");
  world.Pump();
  world.EndExport();
  wire.to_server += Request(nbd::kCmdRead, 1, 0, 512) + Request(nbd::kCmdBlockStatus, 2, 0, 512);
  world.Pump();
  const auto answers = AnswersOf(wire, Opening("disk"));
  EXPECT_EQ(answers.at(1).error, nbd::kEshutdown);
  EXPECT_EQ(answers.at(2).error, nbd::kEshutdown);
}

TEST(NbdSession, RequestsQueueWhileTheDiskIsDrained) {
  NbdWire wire;
  NbdWorld world;
  NbdSession& session = world.Connect(wire);
  wire.to_server = Opening("disk");
  world.Pump();
  std::optional<DrainedSection> drained;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    drained = *DrainedSection::CoBegin(world.graph(), {world.node()}, {});
  });
  for (uint64_t i = 0; i < 16; ++i) wire.to_server += Write(i, i * 512, std::string(512, 'x'));
  world.Pump();
  EXPECT_EQ(session.in_flight(), 16u);
  EXPECT_TRUE(AnswersOf(wire, Opening("disk")).empty());
  // The client vanishes; his requests end with the drain.
  wire.is_broken = true;
  world.Pump();
  EXPECT_FALSE(session.is_finished());
  drained->End();
  world.Pump();
  EXPECT_TRUE(session.is_finished());
}

TEST(NbdSession, AServerThatStopsRefusesTheNextOption) {
  NbdWire wire;
  NbdWorld world;
  world.Connect(wire);
  wire.to_server = nbd_wire::Flags();
  world.Pump();
  world.is_shutting_down_ = true;
  wire.to_server += nbd_wire::Go("disk");
  world.Pump();
  Reader reader(wire.to_client);
  EXPECT_TRUE(reader.TakeGreeting());
  EXPECT_EQ(reader.TakeOptionAnswer()->type, nbd::kRepErrShutdown);
}

// Three clients write and read sectors of their own; the decider cuts their bytes, lets them vanish
// and orders everything else. Whoever stays is answered in full, with what it wrote.
void RunClients(Decider& decider, uint64_t seed, bool has_tls) {
  std::array<NbdWire, 3> wires;
  NbdWorld world(
      {.decider = &decider, .tls = has_tls ? NbdOffer::Tls::kRequired : NbdOffer::Tls::kNone});
  const std::string start = nbd_wire::Flags() + nbd_wire::Opt(nbd::kOptStartTls);
  constexpr size_t kStartAnswerBytes = 20;
  const auto choose = [&](size_t options) {
    const std::vector<Option> all(options);
    return options < 2 ? 0 : decider.Pick(ChoiceKind::kData, all);
  };
  std::array<bool, 3> vanishes = {};
  for (size_t i = 0; i < wires.size(); ++i) {
    wires[i].cut = [&choose](size_t max) {
      const size_t most = std::array<size_t, 4>{1, 3, 64, 100'000}[choose(4)];
      return choose(8) == 7 ? 0 : std::min(max, most);
    };
    world.Connect(wires[i]);
    vanishes[i] = choose(3) == 2;
    const std::string content(512, static_cast<char>('a' + i));
    wires[i].to_server = Opening("disk");
    if (has_tls) {
      wires[i].to_server = start;
      world.Pump();
      wires[i].to_server += Opening("disk").substr(nbd_wire::Flags().size());
    }
    for (uint64_t j = 0; j < 4; ++j) wires[i].to_server += Write(j, (i * 4 + j) * 512, content);
    if (vanishes[i]) {
      const size_t sent = choose(wires[i].to_server.size());
      wires[i].to_server.resize(std::max(sent, wires[i].read_bytes));
    }
  }
  world.Pump();
  for (size_t i = 0; i < wires.size(); ++i) {
    if (vanishes[i]) wires[i].is_broken = true;
    for (uint64_t j = 0; j < 4; ++j) {
      wires[i].to_server += Request(nbd::kCmdRead, 10 + j, (i * 4 + j) * 512, 512);
    }
  }
  world.Pump();
  for (size_t i = 0; i < wires.size(); ++i) {
    if (vanishes[i] || wires[i].is_shut) continue;
    const auto answers = AnswersOf(wires[i], Opening("disk"), 0, has_tls ? kStartAnswerBytes : 0);
    ASSERT_EQ(answers.size(), 8u) << "seed " << seed;
    for (uint64_t j = 0; j < 4; ++j) {
      EXPECT_EQ(answers.at(10 + j).data, std::string(512, static_cast<char>('a' + i)));
    }
  }
}

TEST(NbdSession, ClientsAreAnsweredWhateverTheOrderAndTheCuts) {
  for (uint64_t seed : Seeds(4)) {
    RandomDecider decider(seed);
    RunClients(decider, seed, /*has_tls=*/false);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(NbdSession, ClientsByTlsAreAnsweredWhateverTheOrderAndTheCuts) {
  for (uint64_t seed : Seeds(4)) {
    RandomDecider decider(seed);
    RunClients(decider, seed, /*has_tls=*/true);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace millrace::nbd_session_test
