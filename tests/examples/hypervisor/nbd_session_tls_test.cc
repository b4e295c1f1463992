// Sessions by TLS, of which a socket does not say all.
#include <cstddef>
#include <optional>
#include <string>

#include <gtest/gtest.h>

#include "examples/hypervisor/nbd/session.h"
#include "tests/examples/hypervisor/nbd_wire.h"
#include "tests/examples/hypervisor/nbd_world.h"

namespace millrace::nbd_session_tls_test {
namespace {

using nbd_wire::Opening;
using nbd_wire::Write;

// A record that a session has not read to its end when others are to have their turn: no socket
// speaks of the rest.
TEST(NbdSession, TheRestOfARecordIsReadWithoutTheSocketsHelp) {
  constexpr size_t kRecordBytes = 16 << 10;
  constexpr size_t kReadsOfATurn = 8;
  NbdWire wire;
  NbdWorld world({.disk_bytes = 1 << 20, .tls = NbdOffer::Tls::kRequired});
  NbdSession& session = world.Connect(wire);
  wire.to_server = nbd_wire::Flags() + nbd_wire::Opt(nbd::kOptStartTls);
  world.Pump();
  wire.to_server += Opening("disk").substr(nbd_wire::Flags().size());
  world.Pump();
  std::optional<DrainedSection> drained;
  world.Run([&]() MILLRACE_MAY_SUSPEND {
    drained = *DrainedSection::CoBegin(world.graph(), {world.node()}, {});
  });
  // The last read of the turn ends with the first request, in the middle of a record.
  wire.to_server +=
      Write(1, 0, std::string((kReadsOfATurn - 1) * kRecordBytes, 'x')) + Write(2, 1 << 19, "y");
  world.Pump();
  EXPECT_EQ(session.in_flight(), 2u);
  drained->End();
  world.Pump();
}

TEST(NbdSession, BytesBehindTheRequestForTlsAreNotTakenForTheClientsOwn) {
  for (bool is_injected : {false, true}) {
    NbdWire wire;
    NbdWorld world({.tls = NbdOffer::Tls::kRequired});
    NbdSession& session = world.Connect(wire);
    wire.to_server = nbd_wire::Flags() + nbd_wire::Opt(nbd::kOptStartTls) +
                     (is_injected ? nbd_wire::Go("disk") : std::string());
    world.Pump();
    EXPECT_EQ(session.is_finished(), is_injected);
    EXPECT_EQ(world.tls_begun, is_injected ? 0 : 1);
  }
}

}  // namespace
}  // namespace millrace::nbd_session_tls_test
