// Short ways to submit one request, for tests of the backends.
#ifndef MILLRACE_TESTS_ENGINE_IO_IO_TEST_SUPPORT_H_
#define MILLRACE_TESTS_ENGINE_IO_IO_TEST_SUPPORT_H_

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"

namespace millrace {

// False where the host refuses io_uring; its tests are skipped there.
inline bool IsAvailable(IoBackendKind kind) {
  const auto engine = Engine::Create({.io = kind});
  return engine.status().code() != absl::StatusCode::kUnavailable;
}
inline std::unique_ptr<Engine> RealEngine(IoBackendKind kind) {
  auto engine = Engine::Create({.io = kind});
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

inline int64_t CoTransfer(IoBackend& io, IoOpcode opcode, IoFile file, uint64_t offset,
                          std::string& data) MILLRACE_MAY_SUSPEND {
  const iovec buffer = {data.data(), data.size()};
  IoRequest request;
  request.opcode = opcode;
  request.file = file;
  request.offset = offset;
  request.bytes = data.size();
  request.iov = absl::MakeConstSpan(&buffer, 1);
  request.label = "test";
  return CoSubmit(io, request);
}
inline int64_t CoWriteText(IoBackend& io, IoFile file, uint64_t offset, std::string data)
    MILLRACE_MAY_SUSPEND {
  return CoTransfer(io, IoOpcode::kWrite, file, offset, data);
}
// What was read, cut to what the request returned; "error N" for -N.
inline std::string CoReadText(IoBackend& io, IoFile file, uint64_t offset, size_t bytes)
    MILLRACE_MAY_SUSPEND {
  std::string data(bytes, '?');
  const int64_t result = CoTransfer(io, IoOpcode::kRead, file, offset, data);
  if (result < 0) return "error " + std::to_string(-result);
  data.resize(static_cast<size_t>(result));
  return data;
}
// kSync, kDiscard, kWriteZeroes, kTruncate.
inline int64_t CoRange(IoBackend& io, IoOpcode opcode, IoFile file, uint64_t offset = 0,
                       uint64_t bytes = 0) MILLRACE_MAY_SUSPEND {
  IoRequest request;
  request.opcode = opcode;
  request.file = file;
  request.offset = offset;
  request.bytes = bytes;
  request.label = "test";
  return CoSubmit(io, request);
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_ENGINE_IO_IO_TEST_SUPPORT_H_
