// When the daemon looks for requests before it sleeps: for as long as it pays, and seldom else.
#include "examples/hypervisor/process/busy_wait.h"

#include <gtest/gtest.h>

namespace millrace::busy_wait_test {
namespace {

// Of so many waits, how many are looked through, when looking finds something or does not.
int Looks(BusyWait& wait, int waits, bool has_found) {
  int looks = 0;
  for (int i = 0; i < waits; ++i) {
    if (!wait.ShouldLook()) continue;
    ++looks;
    wait.OnLooked(has_found);
  }
  return looks;
}

TEST(BusyWait, WhatPaysIsDoneEveryTime) {
  BusyWait wait;
  EXPECT_EQ(Looks(wait, BusyWait::kTrialMin - 1, true), 0);
  EXPECT_EQ(Looks(wait, 1000, true), 1000);
}

TEST(BusyWait, WhatDoesNotPayIsTriedEverMoreSeldom) {
  BusyWait wait;
  EXPECT_LE(Looks(wait, 10'000, false), 9);
  const int later = Looks(wait, 10 * BusyWait::kTrialMax, false);
  EXPECT_GE(later, 9);
  EXPECT_LE(later, 10);
}

TEST(BusyWait, ItEndsSoonAfterItHasCeasedToPay) {
  BusyWait wait;
  Looks(wait, 1000, true);
  EXPECT_LE(Looks(wait, BusyWait::kTrialMin, false), 5);
  // And begins again after as few waits as at first.
  EXPECT_GE(Looks(wait, 3 * BusyWait::kTrialMin, true), BusyWait::kTrialMin / 2);
}

TEST(BusyWait, OneInThreeMayMissAndHalfMayNot) {
  BusyWait wait;
  Looks(wait, 1000, true);
  int looks = 0;
  for (int i = 0; i < 900; ++i) {
    if (!wait.ShouldLook()) continue;
    ++looks;
    wait.OnLooked(i % 4 != 0);
  }
  EXPECT_EQ(looks, 900);
  looks = 0;
  for (int i = 0; i < 900; ++i) {
    if (!wait.ShouldLook()) continue;
    ++looks;
    wait.OnLooked(i % 2 != 0);
  }
  EXPECT_LT(looks, 150);
}

}  // namespace
}  // namespace millrace::busy_wait_test
