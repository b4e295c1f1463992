// What guests' requests take, and which of them no job has disturbed.
#include <cstdint>

#include <gtest/gtest.h>

#include "millrace/graph/guest_load.h"

namespace millrace::guest_load_test {
namespace {

TEST(LatencyHistogram, PercentileIsAtMostAQuarterAboveWhatWasAdded) {
  for (Nanoseconds latency = 2 * kMicrosecond; latency < 100 * kSecond; latency = latency * 5 / 3) {
    LatencyHistogram histogram;
    histogram.Add(latency);
    EXPECT_GE(histogram.Percentile(0.5), latency);
    EXPECT_LE(histogram.Percentile(0.5), latency + latency / 4);
  }
}

TEST(LatencyHistogram, PercentilesTellTheRareFromTheCommon) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Percentile(0.99), 0);
  for (int i = 0; i < 98; ++i) histogram.Add(50 * kMicrosecond);
  for (int i = 0; i < 2; ++i) histogram.Add(5 * kMillisecond);
  EXPECT_LE(histogram.Percentile(0.5), 63 * kMicrosecond);
  EXPECT_LE(histogram.Percentile(0.98), 63 * kMicrosecond);
  EXPECT_GE(histogram.Percentile(0.99), 5 * kMillisecond);
}

TEST(LatencyHistogram, TakesWhatIsBeyondItsEnds) {
  LatencyHistogram histogram;
  histogram.Add(-1);
  histogram.Add(0);
  histogram.Add(INT64_MAX);
  EXPECT_EQ(histogram.count(), 3u);
  EXPECT_LE(histogram.Percentile(0.5), kMicrosecond + 23);
}

TEST(LatencyHistogram, DifferenceIsWhatCameInBetween) {
  LatencyHistogram histogram;
  histogram.Add(kSecond);
  const LatencyHistogram earlier = histogram;
  histogram.Add(kMillisecond);
  EXPECT_EQ(histogram.Since(earlier).count(), 1u);
  EXPECT_LE(histogram.Since(earlier).Percentile(1), 2 * kMillisecond);
}

class GuestLoadTest : public testing::Test {
 protected:
  // A request that takes so long; `during` is called in its middle.
  template <typename During>
  void Serve(Nanoseconds latency, During during) {
    const GuestLoad::Request request(&load_, false);
    clock_.AdvanceTo(clock_.Now() + latency / 2);
    during();
    clock_.AdvanceTo(clock_.Now() + latency - latency / 2);
  }
  void Serve(Nanoseconds latency) {
    Serve(latency, [] {});
  }

  SimulatedClock clock_;
  GuestLoad load_{clock_};
};

TEST_F(GuestLoadTest, RequestsOfJobsDoNotCount) {
  { const GuestLoad::Request request(nullptr, true); }
  EXPECT_EQ(load_.ended(), 0u);
  EXPECT_LT(load_.last_write(), 0);
}

TEST_F(GuestLoadTest, CountsWhatEndsAndWhatIsUnderWay) {
  EXPECT_LT(load_.last_activity(), 0);
  Serve(kMillisecond, [this] { EXPECT_EQ(load_.in_flight(), 1u); });
  EXPECT_EQ(load_.last_activity(), clock_.Now());
  EXPECT_EQ(load_.in_flight(), 0u);
  EXPECT_EQ(load_.ended(), 1u);
  EXPECT_EQ(load_.total_latency(), kMillisecond);
}

TEST_F(GuestLoadTest, OnlyWhatMeetsNoBatchIsUndisturbed) {
  Serve(kMillisecond);
  load_.OnBatchBegin();
  Serve(10 * kMillisecond);  // all of it beside a batch
  Serve(10 * kMillisecond, [this] { load_.OnBatchEnd(); });
  Serve(10 * kMillisecond, [this] {  // one that comes and goes
    load_.OnBatchBegin();
    load_.OnBatchEnd();
  });
  Serve(3 * kMillisecond);
  EXPECT_EQ(load_.undisturbed(), 2u);
  EXPECT_DOUBLE_EQ(load_.undisturbed_mean(), 2 * kMillisecond);
  EXPECT_EQ(load_.ended(), 5u);
}

TEST_F(GuestLoadTest, MeanOfTheUndisturbedFollowsWhatTheyTakeNow) {
  for (int i = 0; i < 1000; ++i) Serve(kMillisecond);
  for (int i = 0; i < 3000; ++i) Serve(2 * kMillisecond);
  EXPECT_NEAR(load_.undisturbed_mean(), 2 * kMillisecond, kMillisecond / 20);
}

// ---- What the guests had before jobs copied ----------------------------------------------------

// A guest with one request at a time.
class GuestLoadQuiet : public GuestLoadTest {
 protected:
  void ServeFor(Nanoseconds duration, Nanoseconds latency) {
    for (const Nanoseconds end = clock_.Now() + duration; clock_.Now() < end;) Serve(latency);
  }
  void CopyFor(Nanoseconds duration, Nanoseconds latency) {
    load_.OnCopierBegin();
    ServeFor(duration, latency);
    load_.OnCopierEnd();
  }
};

TEST_F(GuestLoadQuiet, IsWhatTheyHadJustBefore) {
  ServeFor(3 * kSecond, 9 * kMillisecond);
  ServeFor(kSecond, kMillisecond);
  load_.OnCopierBegin();
  ASSERT_TRUE(load_.quiet());
  EXPECT_EQ(load_.quiet()->until, clock_.Now());
  EXPECT_NEAR(load_.quiet()->mean, kMillisecond, kMillisecond / 10);
  EXPECT_NEAR(load_.quiet()->rate, 1.0 / kMillisecond, 0.1 / kMillisecond);
}

TEST_F(GuestLoadQuiet, IsNotKnownOfGuestsThatWereIdleOrHaveJustCome) {
  load_.OnCopierBegin();
  load_.OnCopierEnd();
  EXPECT_FALSE(load_.quiet()) << "nobody was there";
  ServeFor(kSecond / 4, kMillisecond);
  CopyFor(0, 0);
  EXPECT_FALSE(load_.quiet()) << "not long enough";
  ServeFor(kSecond, kMillisecond);
  clock_.AdvanceTo(clock_.Now() + kSecond);
  CopyFor(0, 0);
  EXPECT_FALSE(load_.quiet()) << "they have gone";
  ServeFor(kSecond, kMillisecond);
  clock_.AdvanceTo(clock_.Now() + kSecond / 2);
  ServeFor(kSecond / 4, kMillisecond);
  CopyFor(0, 0);
  EXPECT_FALSE(load_.quiet()) << "they were idle in between";
}

// What they had while somebody copied is not what they would have.
TEST_F(GuestLoadQuiet, IsNotWhatTheyHadBesideAnotherJob) {
  ServeFor(kSecond, kMillisecond);
  CopyFor(3 * kSecond, 5 * kMillisecond);
  const Nanoseconds until = load_.quiet()->until;
  ServeFor(kSecond / 4, 4 * kMillisecond);
  CopyFor(kSecond, 5 * kMillisecond);
  EXPECT_EQ(load_.quiet()->until, until) << "not long enough, what was known is kept";
  ServeFor(kSecond, 2 * kMillisecond);
  CopyFor(kSecond, 5 * kMillisecond);
  EXPECT_NEAR(load_.quiet()->mean, 2 * kMillisecond, kMillisecond / 10);
}

TEST_F(GuestLoadQuiet, IsTakenWhenTheFirstOfSeveralBegins) {
  ServeFor(kSecond, kMillisecond);
  load_.OnCopierBegin();
  ServeFor(kSecond, 5 * kMillisecond);
  load_.OnCopierBegin();
  EXPECT_NEAR(load_.quiet()->mean, kMillisecond, kMillisecond / 10);
}

}  // namespace
}  // namespace millrace::guest_load_test
