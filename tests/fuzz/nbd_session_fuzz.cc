// Any bytes as what an NBD client sends: the server must not crash, hang, keep anything, or answer
// what a client could not read. The first byte of the input chooses how the session begins (raw, or
// past the handshake, with structured replies or without) and whether the export is writable; the
// second cuts the rest, which is sent, into pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "millrace/engine/base/check.h"
#include "tests/examples/hypervisor/nbd_wire.h"
#include "tests/examples/hypervisor/nbd_world.h"

namespace millrace {
namespace {

constexpr size_t kInputBytesMax = 1 << 16;

struct Shape {
  bool is_writable = false;
  bool is_open = false;  // past the handshake
  bool is_structured = false;
  bool vanishes = false;  // rather than ending in order
};

std::string OpeningOf(const Shape& shape) {
  if (!shape.is_open) return {};
  return shape.is_structured ? nbd_wire::Opening("disk") : nbd_wire::SimpleOpening("disk");
}

// With structured replies every answer tells its own length.
void CheckAnswers(std::string_view sent) {
  nbd_wire::Reader reader(sent);
  while (reader.TakeAnswer()) {
  }
  MILLRACE_CHECK(reader.rest().empty(), "an answer that a client cannot read");
}

void Run(const Shape& shape, size_t piece, std::string_view input) {
  NbdWire wire;
  NbdWorld world({.is_writable = shape.is_writable});
  wire.cut = [piece](size_t max) { return std::min(max, piece); };
  NbdSession& session = world.Connect(wire);
  wire.to_server = OpeningOf(shape);
  world.Pump();
  const size_t opening_bytes = wire.to_client.size();
  wire.to_server += input;
  world.Pump();
  (shape.vanishes ? wire.is_broken : wire.client_has_ended) = true;
  world.Pump();
  if (!session.is_finished()) world.PassTime();
  MILLRACE_CHECK(session.is_finished(), "a session that outlives its client");
  if (shape.is_open && shape.is_structured && !shape.vanishes) {
    CheckAnswers(std::string_view(wire.to_client).substr(opening_bytes));
  }
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > millrace::kInputBytesMax) return 0;
  const millrace::Shape shape = {(data[0] & 1) != 0, (data[0] & 2) != 0, (data[0] & 4) != 0,
                                 (data[0] & 8) != 0};
  const size_t piece = data[1] == 0 ? SIZE_MAX : data[1];
  millrace::Run(shape, piece, {reinterpret_cast<const char*>(data + 2), size - 2});
  return 0;
}
