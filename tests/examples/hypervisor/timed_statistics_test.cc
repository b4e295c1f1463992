#include "examples/hypervisor/block/timed_statistics.h"

#include <gtest/gtest.h>

namespace millrace::timed_statistics_test {
namespace {

TEST(TimedAverage, TellsOfWhatIsRecent) {
  TimedAverage average(10 * kSecond, 0);
  average.Count(4 * kSecond, kSecond);
  average.Count(2 * kSecond, 2 * kSecond);
  const TimedAverage::Told told = average.Tell(4 * kSecond);
  EXPECT_EQ(told.least, 2 * kSecond);
  EXPECT_EQ(told.most, 4 * kSecond);
  EXPECT_EQ(told.mean, 3 * kSecond);
}

// At half an interval's distance the next window is told, which has seen all of it too.
TEST(TimedAverage, IsOfHalfAnIntervalAtLeastAndOfOneAtMost) {
  TimedAverage average(10 * kSecond, 0);
  average.Count(kSecond, 4 * kSecond);  // in the windows that end at 5 and at 10
  EXPECT_EQ(average.Tell(9 * kSecond).most, kSecond);
  average.Count(kSecond / 2, 9 * kSecond);  // in those that end at 10 and at 15
  EXPECT_EQ(average.Tell(9 * kSecond).mean, 3 * kSecond / 4);
  EXPECT_EQ(average.Tell(11 * kSecond).most, kSecond / 2);
  EXPECT_EQ(average.Tell(15 * kSecond).most, 0);
}

TEST(TimedAverage, NothingIsLeftHoweverLongNobodyAsks) {
  TimedAverage average(kSecond, 0);
  average.Count(kMillisecond, kMillisecond);
  const TimedAverage::Told told = average.Tell(1000 * kSecond + kMillisecond);
  EXPECT_EQ(told.most, 0);
  EXPECT_EQ(told.depth, 0);
  average.Count(kMillisecond, 1000 * kSecond + 2 * kMillisecond);
  EXPECT_EQ(average.Tell(1000 * kSecond + 2 * kMillisecond).mean, kMillisecond);
}

// Two requests of half a second each in one second: one was under way at any time.
TEST(TimedAverage, DepthIsTheTimeOfAllInThatWhichHasPassed) {
  TimedAverage average(4 * kSecond, 0);
  EXPECT_EQ(average.Tell(2 * kSecond).depth, 0);
  average.Count(kSecond / 2, 2 * kSecond + kSecond / 2);
  average.Count(kSecond / 2, 3 * kSecond);
  // The window that ends at 4 has begun at 0.
  EXPECT_DOUBLE_EQ(average.Tell(4 * kSecond - 1).depth, 1e9 / (4e9 - 1));
}

TEST(TimedStatistics, NamesWhatQemuNames) {
  TimedStatistics statistics(10, 0);
  statistics.Count(1, kMillisecond, kSecond);
  const json::object shown = statistics.Describe(2 * kSecond);
  EXPECT_EQ(shown.size(), 12u);
  EXPECT_EQ(shown.at("interval_length").to_number<int64_t>(), 10);
  EXPECT_EQ(shown.at("max_wr_latency_ns").to_number<int64_t>(), kMillisecond);
  EXPECT_EQ(shown.at("avg_rd_latency_ns").to_number<int64_t>(), 0);
  EXPECT_EQ(shown.at("avg_rd_queue_depth").to_number<double>(), 0);
  EXPECT_EQ(shown.if_contains("avg_flush_queue_depth"), nullptr);
}

}  // namespace
}  // namespace millrace::timed_statistics_test
