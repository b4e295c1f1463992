#include "millrace/engine/explore/schedule.h"

#include <gtest/gtest.h>

namespace millrace {
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

TEST(Schedule, ProductionsOrderIsADash) {
  EXPECT_EQ(Schedule().ToText(), "-");
  EXPECT_EQ(*Schedule::FromText("-"), Schedule());
}

TEST(Schedule, WhatIsNoScheduleIsRefusedWithItsPlace) {
  for (const char* text :
       {"", "x1:a@b", "s:a@b", "s1", "s1:a@b,", "s2:a@b,s1:a@b", "s1:a@b,s1:c@d", "s1:a%2",
        "s1:a%zz", "s1:a b", "s1:a@b#", "s1:a@b#x", "s-1:a@b", "s99999999999999999999:a@b"}) {
    const absl::Status status = Schedule::FromText(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace millrace
