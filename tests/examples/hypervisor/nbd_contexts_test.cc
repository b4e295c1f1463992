// Block status of several meta contexts at once.
#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/nbd/session.h"
#include "tests/examples/hypervisor/nbd_wire.h"
#include "tests/examples/hypervisor/nbd_world.h"

namespace millrace::nbd_contexts_test {
namespace {

using nbd_wire::Answer;
using nbd_wire::Contexts;
using nbd_wire::Flags;
using nbd_wire::Go;
using nbd_wire::Opt;
using nbd_wire::Request;
using nbd_wire::Write;

// Up to the transmission phase, with both contexts.
std::string BothContexts() {
  return Flags() + Opt(nbd::kOptStructuredReply) +
         Contexts(nbd::kOptSetMetaContext, "disk", {"base:allocation", "qemu:allocation-depth"}) +
         Go("disk");
}

// Length and state of each extent in an answer.
using Extents = std::vector<std::pair<uint32_t, uint32_t>>;
Extents ExtentsOf(const Answer& answer) {
  const auto* data = reinterpret_cast<const uint8_t*>(answer.data.data());
  Extents extents;
  for (size_t at = 4; at + 8 <= answer.data.size(); at += 8) {
    extents.emplace_back(nbd::ReadBig<uint32_t>(data + at), nbd::ReadBig<uint32_t>(data + at + 4));
  }
  return extents;
}

TEST(NbdContexts, BlockStatusAnswersEachContextWithAChunkOfItsOwn) {
  NbdWire wire;
  NbdWorld world({.tells_allocation_depth = true});
  world.Connect(wire);
  wire.to_server = BothContexts() + Write(1, 1024, std::string(1024, 'x')) +
                   Request(nbd::kCmdWriteZeroes, 2, 2048, 1024, nbd::kFlagNoHole);
  world.Pump();
  const size_t before = wire.to_client.size();
  wire.to_server += Request(nbd::kCmdBlockStatus, 3, 0, 64 << 10);
  world.Pump();
  nbd_wire::Reader reader(std::string_view(wire.to_client).substr(before));
  const std::optional<Answer> allocation = reader.TakeAnswer();
  const std::optional<Answer> depth = reader.TakeAnswer();
  ASSERT_TRUE(allocation && depth);
  EXPECT_EQ(reader.rest(), "");
  EXPECT_FALSE(allocation->is_last);
  EXPECT_TRUE(depth->is_last);
  EXPECT_EQ(allocation->cookie, 3u);
  EXPECT_EQ(depth->cookie, 3u);
  EXPECT_EQ(allocation->data.substr(0, 4), nbd_wire::Big(uint32_t{0}));
  EXPECT_EQ(depth->data.substr(0, 4), nbd_wire::Big(uint32_t{1}));
  EXPECT_EQ(ExtentsOf(*allocation), (Extents{{1024, 3}, {1024, 0}, {(64 << 10) - 2048, 3}}));
  EXPECT_EQ(ExtentsOf(*depth), (Extents{{1024, 0}, {2048, 1}, {(64 << 10) - 3072, 0}}));
}

TEST(NbdContexts, BlockStatusOfOneRunIsOneOfEachContext) {
  NbdWire wire;
  NbdWorld world({.tells_allocation_depth = true});
  world.Connect(wire);
  wire.to_server = BothContexts() + Write(1, 0, std::string(1024, 'x')) +
                   Request(nbd::kCmdWriteZeroes, 2, 1024, 1024, nbd::kFlagNoHole);
  world.Pump();
  const size_t before = wire.to_client.size();
  wire.to_server += Request(nbd::kCmdBlockStatus, 3, 0, 4096, nbd::kFlagReqOne);
  world.Pump();
  nbd_wire::Reader reader(std::string_view(wire.to_client).substr(before));
  EXPECT_EQ(ExtentsOf(*reader.TakeAnswer()), (Extents{{1024, 0}}));
  EXPECT_EQ(ExtentsOf(*reader.TakeAnswer()), (Extents{{2048, 1}}));
}

}  // namespace
}  // namespace millrace::nbd_contexts_test
