#include "millrace/graph/drivers/raw.h"

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/graph/drivers/memory.h"
#include "tests/support/simple_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace::raw_test {
namespace {

class RawDriverTest : public ::testing::Test {
 protected:
  // Opens the child, then raw over it, and runs `body(raw)`.
  template <typename Body>
  absl::Status Run(const RawOptions& options, Body body) {
    context_.SetChild(Role::kPrimary, *child_);
    return engine_->Run([&]() MILLRACE_MAY_SUSPEND {
      MILLRACE_RETURN_IF_ERROR(child_->CoOpen(child_context_));
      auto raw = MakeRawDriver(options);
      MILLRACE_RETURN_IF_ERROR(raw->CoOpen(context_));
      return body(*raw);
    });
  }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  SimpleDriverContext child_context_{*engine_, "child"};
  SimpleDriverContext context_{*engine_, "raw0"};
  std::unique_ptr<ProtocolDriver> child_ = MakeMemoryDriver({.bytes = 10000});
};

TEST_F(RawDriverTest, AWindowLiesAtItsOffset) {
  const absl::Status status =
      Run({.offset = 1000, .bytes = 2000}, [&](FormatDriver& raw) MILLRACE_MAY_SUSPEND {
        EXPECT_EQ(raw.bytes(), 2000u);
        MILLRACE_ASSIGN_OR_RETURN(Extent extent, raw.CoMap(ByteRange(50, 1950)));
        EXPECT_EQ(extent.kind, ExtentKind::kData);
        EXPECT_EQ(extent.host.value(), 1050u);
        EXPECT_EQ(extent.bytes, 1950u);
        MILLRACE_ASSIGN_OR_RETURN(auto allocation, raw.CoAllocate(ByteRange(7, 100), {}));
        EXPECT_EQ(allocation->host().value(), 1007u);
        EXPECT_EQ(allocation->bytes(), 100u);
        EXPECT_FALSE(allocation->needs_link());
        EXPECT_TRUE(allocation->fill_before().empty() && allocation->fill_after().empty());
        EXPECT_EQ(raw.CoResize(3000, {}).code(), absl::StatusCode::kFailedPrecondition);
        return raw.CoLink(*allocation);
      });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RawDriverTest, WithoutASizeItReachesToTheChildsEndAndGrowsWithIt) {
  const absl::Status status =
      Run({.offset = 1000}, [&](FormatDriver& raw) MILLRACE_MAY_SUSPEND -> absl::Status {
        EXPECT_EQ(raw.bytes(), 9000u);
        MILLRACE_RETURN_IF_ERROR(raw.CoResize(50000, {}));
        EXPECT_EQ(child_->bytes(), 51000u);
        EXPECT_EQ(raw.bytes(), 50000u);
        MILLRACE_RETURN_IF_ERROR(raw.CoWriteZeroes(ByteRange(49000, 1000), {}));
        EXPECT_EQ(raw.CoResize(kBytesMax, {}).code(), absl::StatusCode::kResourceExhausted);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RawDriverTest, ZeroesAndDiscardsAreMovedByTheOffset) {
  const absl::Status status = Run(
      {.offset = 1000, .bytes = 2000}, [&](FormatDriver& raw) MILLRACE_MAY_SUSPEND -> absl::Status {
        std::vector<uint8_t> data(10000, 1);
        MILLRACE_RETURN_IF_ERROR(child_->CoWrite(0, IoVector(data.data(), data.size()), {}));
        MILLRACE_RETURN_IF_ERROR(raw.CoWriteZeroes(ByteRange(0, 10), {}));
        MILLRACE_RETURN_IF_ERROR(raw.CoDiscard(ByteRange(100, 10)));
        MILLRACE_RETURN_IF_ERROR(
            raw.CoWriteZeroes(ByteRange(200, 10), {.only_if_unallocated = true}));
        std::vector<uint8_t> expected = data;
        std::fill_n(expected.begin() + 1000, 10, 0);
        std::fill_n(expected.begin() + 1100, 10, 0);
        MILLRACE_RETURN_IF_ERROR(child_->CoRead(0, IoVector(data.data(), data.size())));
        EXPECT_EQ(data, expected);
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RawDriverTest, NothingGoesBeyondAWindowWhoeverAsks) {
  const absl::Status status =
      Run({.offset = 1000, .bytes = 2000}, [&](FormatDriver& raw) MILLRACE_MAY_SUSPEND {
        const ByteRange across(1900, 200);
        const ByteRange last(1900, 100);
        const auto is_full = [](const absl::Status& refused) {
          return absl::IsResourceExhausted(refused) && ErrnoOf(refused) == ENOSPC;
        };
        EXPECT_TRUE(is_full(raw.CoAllocate(across, {}).status()));
        EXPECT_TRUE(is_full(raw.CoAllocateBatch({last, across}, {}).status()));
        EXPECT_TRUE(is_full(raw.CoWriteZeroes(across, {})));
        EXPECT_TRUE(is_full(raw.CoDiscard(across)));
        EXPECT_TRUE(raw.CoMap(last).ok());
        EXPECT_TRUE(raw.CoWriteZeroes(last, {}).ok());
        MILLRACE_ASSIGN_OR_RETURN(auto allocation, raw.CoAllocate(last, {}));
        return raw.CoLink(*allocation);
      });
  EXPECT_TRUE(status.ok()) << status;
}

// What QEMU 7.2 says of idle windows, exported ones and those below qcow2 and copy-on-read.
TEST_F(RawDriverTest, AWindowAsksForWhatItsUsersAskForAndKeepsOthersFromResizingTheFile) {
  for (uint8_t used = 0; used < 16; ++used) {
    for (uint8_t shared = 0; shared < 16; ++shared) {
      PermissionContext asked;
      asked.role = Role::kPrimary;
      asked.parents = {PermissionSet(used), PermissionSet(shared)};
      EXPECT_EQ(MakeRawDriver()->DerivePermissions(asked), asked.parents);
      const Permissions of_window = {asked.parents.used, asked.parents.shared - kResize};
      EXPECT_EQ(MakeRawDriver({.bytes = 512})->DerivePermissions(asked), of_window);
      EXPECT_EQ(MakeRawDriver({.offset = 512})->DerivePermissions(asked), of_window);
    }
  }
}

// For a format above: users' requests end where the node does.
TEST_F(RawDriverTest, BeyondAWindowAreZeroes) {
  const absl::Status status =
      Run({.offset = 1000, .bytes = 2000}, [&](FormatDriver& raw) MILLRACE_MAY_SUSPEND {
        MILLRACE_ASSIGN_OR_RETURN(const Extent inside, raw.CoMap(ByteRange(1900, 200)));
        EXPECT_EQ(inside.kind, ExtentKind::kData);
        EXPECT_EQ(inside.host, HostOffset(2900));
        EXPECT_EQ(inside.bytes, 100u);
        for (const uint64_t offset : {uint64_t{2000}, uint64_t{5000}}) {
          MILLRACE_ASSIGN_OR_RETURN(const Extent behind, raw.CoMap(ByteRange(offset, 100)));
          EXPECT_EQ(behind.kind, ExtentKind::kZero);
          EXPECT_EQ(behind.bytes, 100u);
        }
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RawDriverTest, EveryByteIsAllocated) {
  const absl::Status status = Run({}, [&](FormatDriver& raw) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(auto allocation,
                              raw.CoAllocate(ByteRange(0, 500), {.only_if_unallocated = true}));
    EXPECT_EQ(allocation->bytes(), 0u);
    EXPECT_EQ(allocation->skip_bytes(), 500u);
    raw.CoAbandon(*allocation);
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

// As the generic path writes.
absl::Status CoWriteAs(FormatDriver& raw, uint64_t offset, std::string text) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(auto allocation, raw.CoAllocate(ByteRange(offset, text.size()), {}));
  EXPECT_EQ(allocation->is_opaque(), offset < 512);
  EXPECT_EQ(allocation->bytes(), text.size());
  const IoVector source(text.data(), text.size());
  const absl::Status status =
      allocation->is_opaque() ? raw.CoWriteOpaque(*allocation, offset, source) : absl::OkStatus();
  if (status.ok()) return raw.CoLink(*allocation);
  raw.CoAbandon(*allocation);
  return status;
}

TEST_F(RawDriverTest, AGuessStaysRawWhateverIsWritten) {
  using namespace std::string_literals;
  const absl::Status status =
      Run({.was_guessed = true}, [&](FormatDriver& raw) MILLRACE_MAY_SUSPEND -> absl::Status {
        const auto is_refused = [](const absl::Status& refused) {
          return absl::IsPermissionDenied(refused) && ErrnoOf(refused) == EPERM;
        };
        const std::string header = "QFI\xfb\0\0\0\3"s;
        EXPECT_TRUE(is_refused(CoWriteAs(raw, 0, header)));
        EXPECT_TRUE(is_refused(CoWriteAs(raw, 0, header + std::string(4096, 'x'))));
        EXPECT_TRUE(is_refused(CoWriteAs(raw, 64, "\x7f\x10\xda\xbe")));
        std::string there(4096, '-');
        const IoVector memory(there.data(), there.size());
        MILLRACE_RETURN_IF_ERROR(child_->CoRead(0, memory));
        EXPECT_EQ(there, std::string(4096, '\0')) << "what is refused is not written in part";
        // Bit by bit as little as at once; elsewhere it is data as any other.
        MILLRACE_RETURN_IF_ERROR(CoWriteAs(raw, 4, "\0\0\0\3"s));
        MILLRACE_RETURN_IF_ERROR(CoWriteAs(raw, 0, "QFI"));
        EXPECT_TRUE(is_refused(CoWriteAs(raw, 3, "\xfb")));
        MILLRACE_RETURN_IF_ERROR(CoWriteAs(raw, 1, header + std::string(4096, 'x')));
        MILLRACE_RETURN_IF_ERROR(CoWriteAs(raw, 512, header));
        MILLRACE_RETURN_IF_ERROR(child_->CoRead(0, memory));
        EXPECT_EQ(there.substr(0, 10), "Q" + header + "x");
        // Zeroes and discards too can complete a header, of a sector that they leave in part.
        MILLRACE_RETURN_IF_ERROR(CoWriteAs(raw, 0, "WithoutFreeSpace\2\0\0\1"s));
        EXPECT_TRUE(is_refused(raw.CoWriteZeroes(ByteRange(18, 600), {})));
        MILLRACE_RETURN_IF_ERROR(raw.CoDiscard(ByteRange(18, 494)));
        MILLRACE_RETURN_IF_ERROR(raw.CoDiscard(ByteRange(18, 600)));
        MILLRACE_RETURN_IF_ERROR(child_->CoRead(0, memory));
        EXPECT_EQ(there.substr(16, 4), "\2\0\0\1"s);
        MILLRACE_RETURN_IF_ERROR(raw.CoWriteZeroes(ByteRange(0, 18), {}));
        MILLRACE_RETURN_IF_ERROR(raw.CoWriteZeroes(ByteRange(0, 4096), {}));
        MILLRACE_RETURN_IF_ERROR(raw.CoDiscard(ByteRange(0, 512)));
        // Many ranges at once are written one by one where the sector is among them.
        MILLRACE_ASSIGN_OR_RETURN(auto batch, raw.CoAllocateBatch({{511, 1}, {1024, 512}}, {}));
        EXPECT_EQ(batch, nullptr);
        MILLRACE_ASSIGN_OR_RETURN(batch, raw.CoAllocateBatch({{512, 1}, {1024, 512}}, {}));
        EXPECT_NE(batch, nullptr);
        // It is no less a guess when it is reopened as raw.
        raw.TakeOptionsOf(*MakeRawDriver({.bytes = 8192}));
        EXPECT_EQ(raw.bytes(), 8192u);
        EXPECT_TRUE(is_refused(CoWriteAs(raw, 0, header)));
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(RawDriverTest, AWindowBeyondTheChildIsRefused) {
  const auto body = [](FormatDriver&) MILLRACE_MAY_SUSPEND { return absl::OkStatus(); };
  for (const RawOptions& options :
       {RawOptions{.offset = 10001}, RawOptions{.offset = 1, .bytes = 10000},
        RawOptions{.offset = UINT64_MAX}, RawOptions{.offset = 1, .bytes = UINT64_MAX}}) {
    EXPECT_EQ(Run(options, body).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(Run({.offset = 10000}, body).ok());
  EXPECT_TRUE(Run({.bytes = 10000}, body).ok());
}

}  // namespace
}  // namespace millrace::raw_test
