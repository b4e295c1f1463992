#include "examples/race_gallery/debate.h"

#include <algorithm>
#include <cctype>

#include "examples/race_gallery/entries.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/delay_bounded.h"
#include "millrace/engine/explore/random.h"

namespace millrace::gallery {
namespace {

std::string WordsOf(const Failure& failure) {
  return StrCat(failure.signature, ": ", failure.text.substr(0, failure.text.find('\n')));
}

// Two failures of one kind differ in numbers only.
std::string KindOf(std::string words) {
  words.erase(std::remove_if(words.begin(), words.end(),
                             [](unsigned char c) { return std::isdigit(c) != 0; }),
              words.end());
  return words;
}

std::string FailureUnder(const Policy& policy, Strategy& strategy) {
  const ExploreReport report =
      Explore(ScenarioOf(DebateScene(), policy.mutant), strategy, {.budget = {.schedules = 1}});
  return report.finding ? WordsOf(report.finding->failure) : std::string();
}

void Count(std::string words, std::vector<WayToFail>* ways) {
  const auto known = std::find_if(ways->begin(), ways->end(), [&](const WayToFail& way) {
    return KindOf(way.what) == KindOf(words);
  });
  if (known != ways->end()) {
    ++known->schedules;
  } else {
    ways->push_back({std::move(words), 1});
  }
}

}  // namespace

const std::vector<Policy>& Policies() {
  static const auto* const policies = new std::vector<Policy>{
      {"above_base, frozen", "the node above base is kept, and the links to it are frozen",
       Mutant::kR01a},
      {"above_base, not frozen", "the node above base is kept, and nothing is frozen",
       Mutant::kR01b},
      {"base_overlay only", "only the overlay above base is kept; its child's name is written",
       Mutant::kR01c},
      {"Millrace",
       "the leased chain ends above other jobs' filters; base is derived at the edit, its name "
       "through filters",
       Mutant::kNone},
  };
  return *policies;
}

const Scene& DebateScene() { return FindEntry("R01a")->scene; }

Verdict Judge(const Policy& policy, uint64_t schedules, uint64_t seed) {
  Verdict verdict;
  verdict.schedules = schedules;
  const Script production = {};
  Scripted as_it_is(production);
  verdict.in_production = FailureUnder(policy, as_it_is);
  const Script commit_first{.last = {"s@*"}};
  Scripted stream_put_off(commit_first);
  verdict.commit_first = FailureUnder(policy, stream_put_off);
  for (uint64_t i = 0; i < schedules; ++i) {
    RandomWalk walk(seed + i);
    std::string words = FailureUnder(policy, walk);
    if (words.empty()) continue;
    ++verdict.failed;
    Count(std::move(words), &verdict.ways);
  }
  std::stable_sort(
      verdict.ways.begin(), verdict.ways.end(),
      [](const WayToFail& a, const WayToFail& b) { return a.schedules > b.schedules; });
  if (verdict.failed > 0) return verdict;
  DelayBounded delays(2);
  const ExploreReport report = Explore(ScenarioOf(DebateScene(), policy.mutant), delays,
                                       {.budget = {.schedules = 1'000'000}});
  verdict.proof = report.finding ? WordsOf(report.finding->failure) : report.proof;
  if (report.finding) ++verdict.failed;
  return verdict;
}

}  // namespace millrace::gallery
