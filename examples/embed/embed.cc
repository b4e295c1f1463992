// Millrace in a program that has an event loop of its own: four coroutines copy a file, while the
// program polls the engine's one descriptor next to whatever else it waits for.
//
//   embed SOURCE COPY
#include <poll.h>

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"

namespace {

using namespace millrace;  // NOLINT: an example reads better without prefixes

constexpr uint64_t kPieceBytes = 64 << 10;

int64_t CoMove(IoBackend& io, IoOpcode opcode, IoFile file, uint64_t offset, void* data,
               uint64_t bytes) MILLRACE_MAY_SUSPEND {
  const iovec piece = {data, bytes};
  IoRequest request;
  request.opcode = opcode;
  request.file = file;
  request.offset = offset;
  request.bytes = bytes;
  request.iov = {&piece, 1};
  return CoSubmit(io, request);
}

absl::Status CoCopyFile(IoBackend& io, const std::string& source_path, const std::string& copy_path)
    MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(IoFile source, io.CoOpen(source_path, {}));
  MILLRACE_ASSIGN_OR_RETURN(
      IoFile copy, io.CoOpen(copy_path, {.writable = true, .create = true, .truncate = true}));
  MILLRACE_ASSIGN_OR_RETURN(FileInfo info, io.CoStat(source));
  uint64_t next = 0;  // no lock: coroutines switch only where they suspend
  // README: begin
  TaskScope scope("copy");
  for (int worker = 0; worker < 4; ++worker) {
    scope.Spawn("copy/worker", [&]() MILLRACE_MAY_SUSPEND {
      std::vector<char> piece(kPieceBytes);
      while (next < info.bytes) {
        const uint64_t offset = std::exchange(next, next + kPieceBytes);
        const uint64_t bytes = std::min(kPieceBytes, info.bytes - offset);
        // Others run while this one waits for its read, and for its write.
        if (CoMove(io, IoOpcode::kRead, source, offset, piece.data(), bytes) < 0 ||
            CoMove(io, IoOpcode::kWrite, copy, offset, piece.data(), bytes) < 0) {
          return absl::DataLossError("the host refused to copy a piece");
        }
      }
      return absl::OkStatus();
    });
  }
  absl::Status status = scope.CoJoin();  // all four are done; the first error, if any
  // README: end
  io.CoClose(copy);
  io.CoClose(source);
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: embed SOURCE COPY\n";
    return 2;
  }
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create({});
  if (!engine.ok()) {
    std::cerr << engine.status() << '\n';
    return 1;
  }
  TaskScope scope((*engine)->scheduler(), "embed");
  scope.Spawn("embed/main",
              [&]() MILLRACE_MAY_SUSPEND { return CoCopyFile((*engine)->io(), argv[1], argv[2]); });
  for (;;) {
    const bool has_more = (*engine)->PollOnce();
    if (scope.live() == 0) break;
    pollfd wait = {(*engine)->PollFd(), POLLIN, 0};
    poll(&wait, 1, has_more ? 0 : -1);  // nothing here has a deadline: see NextDeadline()
  }
  absl::Status status = scope.Finish();
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? 0 : 1;
}
