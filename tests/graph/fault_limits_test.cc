// What blkdebug pretends that its child can do.
#include "millrace/graph/filters/fault_limits.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace millrace::fault_limits_test {
namespace {

using testing::ElementsAre;

TEST(FaultLimits, WhatDoesNotGoTogetherIsRefused) {
  EXPECT_TRUE(FaultLimits().Validate().ok());
  EXPECT_TRUE((FaultLimits{.align = 4096, .max_transfer = 65536}).Validate().ok());
  EXPECT_FALSE((FaultLimits{.align = 513}).Validate().ok());
  EXPECT_FALSE((FaultLimits{.align = 4096, .max_transfer = 512}).Validate().ok());
  EXPECT_FALSE((FaultLimits{.opt_write_zero = 65536, .max_write_zero = 4096}).Validate().ok());
  EXPECT_FALSE((FaultLimits{.align = 4096, .opt_discard = 512}).Validate().ok());
  EXPECT_FALSE((FaultLimits{.max_discard = uint64_t{1} << 31}).Validate().ok());
}

TEST(FaultLimits, BlocksCoverTheRangeAndNoMore) {
  const FaultLimits limits{.align = 4096};
  EXPECT_EQ(limits.BlocksAround(ByteRange(4095, 2)), ByteRange(0, 8192));
  EXPECT_EQ(limits.BlocksAround(ByteRange(4096, 4096)), ByteRange(4096, 4096));
  EXPECT_EQ(FaultLimits().BlocksAround(ByteRange(5, 7)), ByteRange(5, 7));
}

TEST(FaultLimits, PartsAreAsLargeAsAllowed) {
  EXPECT_THAT(SplitRange(ByteRange(10, 25), 10),
              ElementsAre(ByteRange(10, 10), ByteRange(20, 10), ByteRange(30, 5)));
  EXPECT_THAT(SplitRange(ByteRange(10, 25), 0), ElementsAre(ByteRange(10, 25)));
  EXPECT_THAT(SplitRange(ByteRange(10, 0), 10), ElementsAre());
}

}  // namespace
}  // namespace millrace::fault_limits_test
