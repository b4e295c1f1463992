#include "examples/hypervisor/nbd/request.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "millrace/engine/io/io_error.h"
#include "tests/examples/hypervisor/nbd_wire.h"

namespace millrace::nbd_request_test {
namespace {

constexpr uint64_t kDisk = 1 << 20;

uint32_t ErrorOf(const NbdRequest& request, const NbdTerms& terms) {
  const std::optional<NbdRefusal> refusal = CheckNbdRequest(request, terms);
  return refusal ? refusal->error : nbd::kOk;
}

NbdTerms Structured() {
  return {
      .disk_bytes = kDisk, .structured_replies = true, .contexts = OnlyNbdContext(kNbdAllocation)};
}
NbdTerms Simple() { return {.disk_bytes = kDisk}; }

NbdRequest Make(uint16_t command, uint64_t offset, uint32_t bytes, uint16_t flags = 0) {
  NbdRequest request;
  request.command = command;
  request.offset = offset;
  request.bytes = bytes;
  request.flags = flags;
  return request;
}

TEST(NbdRequest, IsReadAsItStandsOnTheWire) {
  const std::string bytes = nbd_wire::Request(7, 0x1122334455667788, 0x99aabbccddeeff00, 77, 9);
  const auto request = ParseNbdRequest(reinterpret_cast<const uint8_t*>(bytes.data()));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->command, 7);
  EXPECT_EQ(request->flags, 9);
  EXPECT_EQ(request->cookie, 0x1122334455667788u);
  EXPECT_EQ(request->offset, 0x99aabbccddeeff00u);
  EXPECT_EQ(request->bytes, 77u);
}

TEST(NbdRequest, AWrongMagicIsNoRequest) {
  std::string bytes = nbd_wire::Request(0, 1, 0, 512);
  bytes[3] ^= 1;
  EXPECT_FALSE(ParseNbdRequest(reinterpret_cast<const uint8_t*>(bytes.data())).has_value());
}

TEST(NbdRequest, WhatEndsAtTheEndIsGoodAndOneByteMoreIsNot) {
  for (uint16_t command : {nbd::kCmdRead, nbd::kCmdWrite, nbd::kCmdTrim, nbd::kCmdCache,
                           nbd::kCmdWriteZeroes, nbd::kCmdBlockStatus}) {
    const bool fills = command == nbd::kCmdWrite || command == nbd::kCmdWriteZeroes;
    const uint32_t error = fills ? nbd::kEnospc : nbd::kEinval;
    EXPECT_EQ(ErrorOf(Make(command, kDisk - 512, 512), Structured()), nbd::kOk);
    EXPECT_EQ(ErrorOf(Make(command, kDisk - 511, 512), Structured()), error);
    EXPECT_EQ(ErrorOf(Make(command, kDisk, 1), Structured()), error);
    EXPECT_EQ(ErrorOf(Make(command, UINT64_MAX, 1), Structured()), error);
    EXPECT_EQ(ErrorOf(Make(command, UINT64_MAX - 510, 512), Structured()), error);
    EXPECT_EQ(ErrorOf(Make(command, uint64_t{1} << 63, 512), Structured()), error);
  }
}

TEST(NbdRequest, NothingLongIsGoodExceptForStatus) {
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdRead, 7, 0), Structured()), nbd::kOk);
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdWrite, kDisk, 0), Structured()), nbd::kOk);
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdBlockStatus, 0, 0), Structured()), nbd::kEinval);
}

TEST(NbdRequest, WhatNeedsABufferIsBounded) {
  NbdTerms terms = Structured();
  terms.disk_bytes = uint64_t{1} << 40;
  constexpr uint32_t kMost = 32 << 20;
  for (uint16_t command : {nbd::kCmdRead, nbd::kCmdWrite, nbd::kCmdCache}) {
    EXPECT_EQ(ErrorOf(Make(command, 0, kMost), terms), nbd::kOk);
    EXPECT_EQ(ErrorOf(Make(command, 0, kMost + 1), terms), nbd::kEinval);
    EXPECT_EQ(ErrorOf(Make(command, 0, UINT32_MAX), terms), nbd::kEinval);
  }
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdRead, 0, kMost + 1, nbd::kFlagDf), terms), nbd::kEoverflow);
  for (uint16_t command : {nbd::kCmdTrim, nbd::kCmdWriteZeroes, nbd::kCmdBlockStatus}) {
    EXPECT_EQ(ErrorOf(Make(command, 0, UINT32_MAX), terms), nbd::kOk);
  }
}

TEST(NbdRequest, FlagsThatACommandDoesNotHaveAreRefused) {
  struct Row {
    uint16_t command;
    uint16_t good;
  };
  const uint16_t fua = nbd::kFlagFua;
  for (const Row& row :
       {Row{nbd::kCmdRead, static_cast<uint16_t>(fua | nbd::kFlagDf)}, Row{nbd::kCmdWrite, fua},
        Row{nbd::kCmdFlush, fua}, Row{nbd::kCmdTrim, fua}, Row{nbd::kCmdCache, fua},
        Row{nbd::kCmdWriteZeroes,
            static_cast<uint16_t>(fua | nbd::kFlagNoHole | nbd::kFlagFastZero)},
        Row{nbd::kCmdBlockStatus, static_cast<uint16_t>(fua | nbd::kFlagReqOne)}}) {
    for (int bit = 0; bit < 16; ++bit) {
      const auto flag = static_cast<uint16_t>(1 << bit);
      const uint32_t error = ErrorOf(Make(row.command, 0, 512, flag), Structured());
      const uint32_t good = flag == nbd::kFlagFastZero ? nbd::kEnotsup : nbd::kOk;
      EXPECT_EQ(error, (row.good & flag) != 0 ? good : nbd::kEinval) << row.command << ' ' << bit;
    }
  }
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdRead, 0, 512, nbd::kFlagDf), Simple()), nbd::kEinval);
}

TEST(NbdRequest, FastZeroesAreNotPromisedWhateverElseIsRightComesFirst) {
  const uint16_t fast = nbd::kFlagFastZero;
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdWriteZeroes, 0, 512, fast), Structured()), nbd::kEnotsup);
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdWriteZeroes, 0, 512, fast), Simple()), nbd::kEnotsup);
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdWriteZeroes, kDisk, 512, fast), Simple()), nbd::kEnospc);
  NbdTerms terms = Structured();
  terms.is_read_only = true;
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdWriteZeroes, 0, 512, fast), terms), nbd::kEperm);
}

TEST(NbdRequest, AReadOnlyDiskIsNotWritten) {
  NbdTerms terms = Structured();
  terms.is_read_only = true;
  for (uint16_t command : {nbd::kCmdWrite, nbd::kCmdTrim, nbd::kCmdWriteZeroes}) {
    EXPECT_EQ(ErrorOf(Make(command, 0, 512), terms), nbd::kEperm);
  }
  for (uint16_t command : {nbd::kCmdRead, nbd::kCmdFlush, nbd::kCmdCache, nbd::kCmdBlockStatus}) {
    EXPECT_EQ(ErrorOf(Make(command, 0, 512), terms), nbd::kOk);
  }
}

TEST(NbdRequest, UnknownCommandsAndStatusWithoutAContextAreRefused) {
  for (uint16_t command : {uint16_t{8}, uint16_t{77}, uint16_t{65535}}) {
    EXPECT_EQ(ErrorOf(Make(command, 0, 0), Structured()), nbd::kEinval);
  }
  EXPECT_EQ(ErrorOf(Make(nbd::kCmdBlockStatus, 0, 512), Simple()), nbd::kEinval);
}

TEST(NbdRequest, ErrorsOfTheHostBecomeTheProtocols) {
  const auto of = [](int error) { return NbdErrorOf(ErrnoStatus(error, "try")); };
  EXPECT_EQ(NbdErrorOf(absl::OkStatus()), nbd::kOk);
  EXPECT_EQ(of(EPERM), nbd::kEperm);
  EXPECT_EQ(of(EROFS), nbd::kEperm);
  EXPECT_EQ(of(EIO), nbd::kEio);
  EXPECT_EQ(of(ENXIO), nbd::kEio);
  EXPECT_EQ(of(ENOMEM), nbd::kEnomem);
  EXPECT_EQ(of(EINVAL), nbd::kEinval);
  EXPECT_EQ(of(ENOSPC), nbd::kEnospc);
  EXPECT_EQ(of(EFBIG), nbd::kEnospc);
  EXPECT_EQ(of(EDQUOT), nbd::kEnospc);
  EXPECT_EQ(of(EOVERFLOW), nbd::kEoverflow);
  EXPECT_EQ(of(ENOTSUP), nbd::kEnotsup);
  EXPECT_EQ(of(ESHUTDOWN), nbd::kEshutdown);
  EXPECT_EQ(NbdErrorOf(absl::CancelledError("gone")), nbd::kEshutdown);
  EXPECT_EQ(NbdErrorOf(absl::InvalidArgumentError("beyond the end")), nbd::kEinval);
  EXPECT_EQ(NbdErrorOf(absl::DataLossError("corrupt")), nbd::kEio);
}

}  // namespace
}  // namespace millrace::nbd_request_test
