#include "millrace/engine/scheduler/exploration_site.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/scope/task_scope.h"

namespace millrace::exploration_site_test {
namespace {

bool ComeByOddBranch() { return MILLRACE_BUGGIFY("test: an odd branch"); }

void ComeBySometimes(bool holds, int* evaluations) {
  MILLRACE_SOMETIMES((++*evaluations, holds), "test: a situation");
}

void ComeByAlways(bool holds) { MILLRACE_ALWAYS(holds, "test: a condition"); }

const ExplorationSite* FindSite(std::string_view name) {
  for (const ExplorationSite* site : ExplorationSites()) {
    if (site->name == name) return site;
  }
  return nullptr;
}

// Says what is passed; takes odd branches when told to.
class SiteWatcher final : public Decider {
 public:
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    if (kind != ChoiceKind::kBuggify) return 0;
    asked.emplace_back(options[0].name);
    return is_odd ? 1 : 0;
  }
  void OnSite(const ExplorationSite& site, size_t index) override {
    EXPECT_EQ(ExplorationSites()[index], &site);
    passed.emplace_back(site.name);
  }

  bool is_odd = false;
  std::vector<std::string> asked;
  std::vector<std::string> passed;
};

template <typename Body>
void InSimulation(Decider* decider, Body body) {
  auto engine = Engine::Create({.simulated = true, .decider = decider});
  EXPECT_TRUE((*engine)
                  ->Run([&]() MILLRACE_MAY_SUSPEND {
                    body();
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST(ExplorationSite, EverySiteIsListedWhetherReachedOrNot) {
  const ExplorationSite* site = FindSite("test: an odd branch");
  ASSERT_NE(site, nullptr);
  EXPECT_EQ(site->kind, ExplorationSite::Kind::kBuggify);
  EXPECT_STREQ(site->file, "exploration_site_test.cc");
  EXPECT_GT(site->line, 0);
  ASSERT_NE(FindSite("test: a situation"), nullptr);
  EXPECT_EQ(FindSite("test: a situation")->kind, ExplorationSite::Kind::kSometimes);
  ASSERT_NE(FindSite("test: a condition"), nullptr);
  EXPECT_EQ(FindSite("test: a condition")->kind, ExplorationSite::Kind::kAlways);
}

TEST(ExplorationSite, NamesAreUnique) {
  std::vector<std::string> names;
  for (const ExplorationSite* site : ExplorationSites()) names.emplace_back(site->name);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(ExplorationSite, NothingIsOddOutsideASimulation) {
  int evaluations = 0;
  EXPECT_FALSE(ComeByOddBranch());
  ComeBySometimes(true, &evaluations);
  ComeByAlways(true);
  InSimulation(nullptr, [&] {
    EXPECT_FALSE(ComeByOddBranch());
    ComeBySometimes(true, &evaluations);
  });
  EXPECT_EQ(evaluations, 0);
}

TEST(ExplorationSite, TheDeciderTakesTheOddBranchAndHearsOfIt) {
  SiteWatcher watcher;
  InSimulation(&watcher, [&] {
    EXPECT_FALSE(ComeByOddBranch());
    watcher.is_odd = true;
    EXPECT_TRUE(ComeByOddBranch());
  });
  EXPECT_EQ(watcher.asked, std::vector<std::string>(2, "test: an odd branch"));
  EXPECT_EQ(watcher.passed, std::vector<std::string>(1, "test: an odd branch"));
}

TEST(ExplorationSite, ASituationCountsOnlyWhenItsConditionHolds) {
  SiteWatcher watcher;
  int evaluations = 0;
  InSimulation(&watcher, [&] {
    ComeBySometimes(false, &evaluations);
    ComeBySometimes(true, &evaluations);
    ComeByAlways(true);
  });
  EXPECT_EQ(evaluations, 2);
  EXPECT_EQ(watcher.passed, (std::vector<std::string>{"test: a situation", "test: a condition"}));
}

TEST(ExplorationSiteDeathTest, ABrokenConditionEndsTheProgramAnywhere) {
  EXPECT_DEATH(ComeByAlways(false), "test: a condition");
}

}  // namespace
}  // namespace millrace::exploration_site_test
