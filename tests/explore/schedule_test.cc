#include "millrace/engine/explore/schedule.h"

#include <gtest/gtest.h>

namespace millrace::schedule_test {
namespace {

TEST(Schedule, TextOfEveryKindAndOfUnusualLabelsRoundTrips) {
  Schedule schedule;
  for (size_t kind = 0; kind < kChoiceKinds; ++kind) {
    schedule.deviations.push_back({kind * 3, static_cast<ChoiceKind>(kind),
                                   static_cast<uint32_t>(kind), "node 'x', %#:\n\xff@a.b"});
  }
  absl::StatusOr<Schedule> again = Schedule::FromText(schedule.ToText());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, schedule);
}

TEST(Schedule, TextIsReadableAndNeedsNoQuotesInAShell) {
  const Schedule schedule{{{12, ChoiceKind::kStep, 0, "stream0@drain.begin"},
                           {14, ChoiceKind::kOutcome, 0, "img-3@error before effect"},
                           {31, ChoiceKind::kWake, 2, "copy@mutex.lock"}}};
  EXPECT_EQ(schedule.ToText(),
            "s12:stream0@drain.begin,o14:img-3@error%20before%20effect,w31:copy@mutex.lock#2");
}

TEST(Schedule, HoldsComeFirstAndRoundTrip) {
  Schedule schedule{{{12, ChoiceKind::kStep, 0, "stream0@drain.begin"}}, {{5, 40, "a guest"}}};
  EXPECT_EQ(schedule.ToText(), "h5-40:a%20guest,s12:stream0@drain.begin");
  EXPECT_EQ(schedule.size(), 2u);
  absl::StatusOr<Schedule> again = Schedule::FromText(schedule.ToText());
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, schedule);
  schedule.deviations.clear();
  EXPECT_EQ(*Schedule::FromText(schedule.ToText()), schedule);
}

TEST(Schedule, WhoeverIsHeldGoesBehindTheOthersForThatLong) {
  const Schedule schedule{{}, {{5, 7, "a"}}};
  const Option options[] = {{1, "a", "x"}, {2, "b", "x"}};
  HoldFollower held(schedule);
  EXPECT_EQ(held.FirstNotHeld(4, options), 0u);
  EXPECT_EQ(held.FirstNotHeld(5, options), 1u);
  const Option only[] = {{1, "a", "x"}, {3, "a", "y"}};
  EXPECT_EQ(held.FirstNotHeld(6, only), 0u);
  EXPECT_EQ(held.FirstNotHeld(7, options), 1u);
  EXPECT_EQ(held.FirstNotHeld(8, options), 0u);
}

// Two requests of one file, say: the second is late.
TEST(Schedule, OneOfSeveralWithANameIsHeldWhereverItStands) {
  const Schedule schedule{{}, {{5, 9, "a", 1}}};
  EXPECT_EQ(schedule.ToText(), "h5-9:a#1");
  EXPECT_EQ(*Schedule::FromText(schedule.ToText()), schedule);
  HoldFollower held(schedule);
  const Option both[] = {{7, "a", "x"}, {8, "a", "x"}};
  EXPECT_EQ(held.FirstNotHeld(5, both), 0u);
  const Option turned[] = {{8, "a", "x"}, {7, "a", "x"}};
  EXPECT_EQ(held.FirstNotHeld(6, turned), 1u);
  EXPECT_EQ(held.FirstNotHeld(10, turned), 0u);
}

TEST(Schedule, ProductionsOrderIsADash) {
  EXPECT_EQ(Schedule().ToText(), "-");
  EXPECT_EQ(*Schedule::FromText("-"), Schedule());
}

TEST(Schedule, WhatIsNoScheduleIsRefusedWithItsPlace) {
  for (const char* text :
       {"",        "x1:a@b",        "s:a@b",         "s1",
        "s1:a@b,", "s2:a@b,s1:a@b", "s1:a@b,s1:c@d", "s1:a%2",
        "s1:a%zz", "s1:a b",        "s1:a@b#",       "s1:a@b#x",
        "s-1:a@b", "h1:a",          "h2-1:a",        "h1-2",
        "h1-:a",   "h1-2:a#",       "s1:a@b,h2-3:c", "s99999999999999999999:a@b"}) {
    const absl::Status status = Schedule::FromText(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace millrace::schedule_test
