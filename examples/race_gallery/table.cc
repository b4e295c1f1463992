#include "examples/race_gallery/table.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "examples/race_gallery/printing.h"
#include "examples/race_gallery/races.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/shrink.h"

namespace millrace::gallery {
namespace {

// The goals of a search that is told nothing; those of time are for one core.
constexpr double kKilledPercentMin = 95;
constexpr Nanoseconds kMedianTimeMax = kSecond;
constexpr Nanoseconds kTimeMax = 60 * kSecond;
constexpr size_t kDeviationsMax = 12;
constexpr Nanoseconds kShrinkTimeMax = 5 * kSecond;
constexpr size_t kRacesMin = 45;
constexpr size_t kMutantsMin = 60;

// What became of one mutant, or of one scene without any.
struct Row {
  const Entry* entry = nullptr;
  bool is_found = false;
  std::string failure;  // its first line
  uint64_t schedules = 0;
  Nanoseconds time = 0;
  // Of a search's finding, when it was shrunk.
  std::optional<size_t> deviations;
  Nanoseconds shrink_time = 0;
};

Row PlayRow(const Entry& entry, const TableOptions& options) {
  const Mutant mutant = options.is_fixed ? Mutant::kNone : entry.mutant;
  const ExploreReport report = options.is_scripted ? PlayScript(entry.scene, mutant, *entry.script)
                                                   : Search(entry.scene, mutant, options.budget);
  Row row{&entry, report.finding.has_value()};
  row.schedules = report.schedules;
  row.time = report.time;
  if (!report.finding) return row;
  const Failure& failure = report.finding->failure;
  row.failure = StrCat(failure.signature, ": ", failure.text.substr(0, failure.text.find('\n')));
  if (options.is_scripted) return row;
  const ShrinkReport shrunk = Shrink(ScenarioOf(entry.scene, mutant), *report.finding);
  row.deviations = shrunk.finding.schedule.size();
  row.shrink_time = shrunk.time;
  return row;
}

// tests/campaign/report.py reads these.
void PrintRow(const Row& row) {
  char line[160];
  std::snprintf(line, sizeof(line), "%-5s %-4s  %-28s %8llu schedules %9s  ", row.entry->id.data(),
                row.entry->is_of_qemu() ? "QEMU" : "own", row.entry->scene.name.data(),
                static_cast<unsigned long long>(row.schedules), InSeconds(row.time).c_str());
  std::string text = line;
  if (row.deviations) {
    std::snprintf(line, sizeof(line), "%3zu deviations %9s  ", *row.deviations,
                  InSeconds(row.shrink_time).c_str());
    text += line;
  }
  Print(StrCat(text, row.is_found ? row.failure : "no failure", "\n"));
}

// ---- Sums ---------------------------------------------------------------------------------------

template <typename Value>
std::vector<Value> Sorted(const std::vector<Row>& rows, Value (*value)(const Row&)) {
  std::vector<Value> values;
  for (const Row& row : rows) values.push_back(value(row));
  std::sort(values.begin(), values.end());
  return values;
}

std::vector<Nanoseconds> TimesOf(const std::vector<Row>& rows) {
  return Sorted<Nanoseconds>(rows, [](const Row& row) { return row.time; });
}

size_t CountFound(const std::vector<Row>& rows) {
  return static_cast<size_t>(
      std::count_if(rows.begin(), rows.end(), [](const Row& row) { return row.is_found; }));
}

// "found: 79 of 79 mutants of QEMU's races; schedules: 3100 in all, median 1, most 1644; ..."
void PrintSums(std::string_view name, const std::vector<Row>& rows, bool is_fixed) {
  if (rows.empty()) return;
  const std::vector<uint64_t> schedules =
      Sorted<uint64_t>(rows, [](const Row& row) { return row.schedules; });
  uint64_t sum = 0;
  for (uint64_t each : schedules) sum += each;
  const size_t found = CountFound(rows);
  const std::vector<Nanoseconds> times = TimesOf(rows);
  Print(StrCat(is_fixed ? "survived: " : "found: ", is_fixed ? rows.size() - found : found, " of ",
               rows.size(), " ", name, "; schedules: ", sum, " in all, median ",
               schedules[schedules.size() / 2], ", most ", schedules.back(), "; time: median ",
               InSeconds(times[times.size() / 2]), ", longest ", InSeconds(times.back()), "\n"));
}

void PrintAllSums(const std::vector<Row>& rows, bool is_fixed) {
  if (is_fixed) return PrintSums("scenes by the engine as it is", rows, is_fixed);
  std::vector<Row> of_qemu;
  std::vector<Row> own;
  for (const Row& row : rows) (row.entry->is_of_qemu() ? of_qemu : own).push_back(row);
  PrintSums("mutants of QEMU's races", of_qemu, is_fixed);
  PrintSums("mutants of our own bugs", own, is_fixed);
}

// ---- Goals --------------------------------------------------------------------------------------

class Goals {
 public:
  explicit Goals(bool judges_speed) : judges_speed_(judges_speed) {}

  void Expect(bool is_met, std::string_view what, const std::string& is) {
    Tell(is_met, what, is);
    are_met_ &= is_met;
  }
  // What depends on the machine and on what else it does.
  void ExpectSpeed(bool is_met, std::string_view what, const std::string& is) {
    Tell(is_met, what, is);
    are_met_ &= is_met || !judges_speed_;
  }
  bool are_met() const { return are_met_; }

 private:
  void Tell(bool is_met, std::string_view what, const std::string& is) {
    Print(StrCat("goal ", is_met ? "met" : "MISSED", ": ", what, ": ", is, "\n"));
  }

  const bool judges_speed_;
  bool are_met_ = true;
};

std::string OneDecimal(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

bool MeetsGoals(const std::vector<Row>& rows, bool judges_speed) {
  Goals goals(judges_speed);
  const double killed =
      100.0 * static_cast<double>(CountFound(rows)) / static_cast<double>(rows.size());
  goals.Expect(killed >= kKilledPercentMin, "at least 95 % of the mutants found",
               StrCat(OneDecimal(killed), " %"));
  const std::vector<Nanoseconds> times = TimesOf(rows);
  const Nanoseconds median = times[times.size() / 2];
  goals.ExpectSpeed(median < kMedianTimeMax, "the median in less than a second", InSeconds(median));
  goals.ExpectSpeed(times.back() < kTimeMax, "each in less than a minute", InSeconds(times.back()));
  size_t deviations = 0;
  Nanoseconds shrink_time = 0;
  for (const Row& row : rows) {
    deviations = std::max(deviations, row.deviations.value_or(0));
    shrink_time = std::max(shrink_time, row.shrink_time);
  }
  goals.Expect(deviations <= kDeviationsMax, "shrunk to 12 deviations at most", StrCat(deviations));
  goals.ExpectSpeed(shrink_time < kShrinkTimeMax, "shrunk in less than 5 s",
                    InSeconds(shrink_time));
  const absl::Span<const Race> races = Races();
  const auto restored =
      static_cast<size_t>(std::count_if(races.begin(), races.end(), [](const Race& race) {
        return race.race_class == RaceClass::kMutant;
      }));
  goals.Expect(restored >= kRacesMin, "at least 45 races of class (a)", StrCat(restored));
  goals.Expect(rows.size() >= kMutantsMin, "at least 60 mutants", StrCat(rows.size()));
  return goals.are_met();
}

}  // namespace

bool PrintTable(const std::vector<const Entry*>& entries, const TableOptions& options) {
  std::vector<Row> rows;
  for (const Entry* entry : entries) {
    rows.push_back(PlayRow(*entry, options));
    PrintRow(rows.back());
  }
  if (rows.empty()) return false;
  PrintAllSums(rows, options.is_fixed);
  const bool is_well = CountFound(rows) == (options.is_fixed ? 0 : rows.size());
  const bool is_search = !options.is_fixed && !options.is_scripted;
  return (!is_search || MeetsGoals(rows, options.judges_speed)) && is_well;
}

}  // namespace millrace::gallery
