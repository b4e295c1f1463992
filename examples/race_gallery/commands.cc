#include "examples/race_gallery/commands.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "examples/race_gallery/debate.h"
#include "examples/race_gallery/entries.h"
#include "examples/race_gallery/play.h"
#include "examples/race_gallery/printing.h"
#include "examples/race_gallery/races.h"
#include "examples/race_gallery/table.h"
#include "examples/race_gallery/verdict.h"
#include "examples/race_gallery/words.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/replay_page.h"
#include "millrace/engine/explore/shrink.h"

namespace millrace::gallery {
namespace {

constexpr char kUsage[] =
    "usage: race_gallery list [--markdown]\n"
    "       race_gallery run ID... | --all [--fixed] [--script] [--goals] [--replay=SCHEDULE]\n"
    "                    [--html=FILE] [--seconds=N] [--schedules=N] [--seed=N]\n"
    "       race_gallery debate [--seconds=N] [--schedules=N] [--seed=N]\n"
    "  --html writes a page that replays the shrunk failure step by step in a browser.\n"
    "  ID is a race (R04: all its mutants) or a mutant (R04b). --fixed plays the engine as it is,\n"
    "  --script the one schedule that was written for the mutant, --replay one that was printed\n"
    "  ('-': production's own order, without a deviation). --all ends with the gallery's goals;\n"
    "  with --goals those of time count, too.\n"
    "  To write a script: run ID --script [--last=P,P...] [--first=P,P...], with "
    "patterns\n"
    "  as in play.h.\n";

// Random schedules per policy, unless fewer are asked for.
constexpr uint64_t kDebateSchedules = 500;

struct Flags {
  std::string command;
  std::vector<std::string> ids;
  std::string replay;
  std::string html;  // where the page of a finding goes
  bool all = false;
  bool fixed = false;
  bool script = false;
  bool goals = false;
  bool markdown = false;
  std::string last, first;  // a script from the command line
  Budget budget;
};

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// ---- list ---------------------------------------------------------------------------------------

std::vector<const Entry*> MutantsOf(std::string_view race) {
  std::vector<const Entry*> mutants;
  for (const Entry& entry : Entries()) {
    if (entry.race() == race) mutants.push_back(&entry);
  }
  return mutants;
}

std::string StandingOf(const Race& race) {
  if (race.race_class == RaceClass::kWaits) return StrCat("waits for ", race.note);
  std::string ids;
  for (const Entry* entry : MutantsOf(race.id)) StrAppend(&ids, ids.empty() ? "" : " ", entry->id);
  if (race.race_class == RaceClass::kMutant) return ids;
  return StrCat("does not compile: ", race.note,
                ids.empty() ? std::string() : StrCat("; past the compiler: ", ids));
}

void PrintList() {
  Print(
      "race, years, what it broke in QEMU (here, run tells which oracle sees it), class, name, "
      "mutants\n");
  for (const Race& race : Races()) {
    char line[256];
    std::snprintf(line, sizeof(line), "%-4s %-9s %-14s (%c) %-48s %s\n", race.id.data(),
                  race.years.data(), race.invariants.data(), static_cast<char>(race.race_class),
                  race.name.data(), StandingOf(race).c_str());
    Print(line);
  }
  Print("\nFound in Millrace itself, or planted in its tests:\n");
  for (const Entry& entry : Entries()) {
    if (!entry.is_of_qemu()) Print(StrCat(entry.id, "  ", entry.restores, "\n"));
  }
}

std::string MutantTable(bool of_qemu) {
  std::string table = "| mutant | what it restores | scene |\n|---|---|---|\n";
  for (const Entry& entry : Entries()) {
    if (entry.is_of_qemu() != of_qemu) continue;
    StrAppend(&table, "| ", entry.id, " | ", entry.restores, " | ", entry.scene.name, " |\n");
  }
  return table;
}

// ---- run ----------------------------------------------------------------------------------------

bool WritePage(const Entry& entry, const Finding& finding, const std::string& path) {
  std::ofstream file(path);
  file << ReplayPage(finding.recording,
                     {.title = TitleOf(entry),
                      .verdict = VerdictOf(finding.failure),
                      .explanation = Explain(entry, finding.failure),
                      .replay_line = StrCat("race_gallery run ", entry.id,
                                            " --replay=", finding.schedule.ToText()),
                      .words = RulesInWords()});
  file.close();
  Print(StrCat("  page        ", file ? path : StrCat("could not be written to ", path), "\n"));
  return static_cast<bool>(file);
}

// False only if a page was asked for and could not be written.
bool PrintFinding(const Entry& entry, Mutant mutant, const ExploreReport& report,
                  const std::string& html) {
  const ShrinkReport shrunk = Shrink(ScenarioOf(entry.scene, mutant), *report.finding);
  const Finding& finding = shrunk.finding;
  Print(StrCat("  found by    ", report.strategy, ", schedule ", report.schedules, ", ",
               InSeconds(report.time), "\n"));
  Print(StrCat("  shrunk      ", shrunk.deviations_before, " to ", finding.schedule.size(),
               " deviations in ", shrunk.replays, " replays, ", InSeconds(shrunk.time), "\n"));
  Print(StrCat("  oracle      ", finding.failure.signature, "\n"));
  Print(StrCat("  failure     ", FirstLine(finding.failure.text), "\n"));
  if (const std::string_view invariant = InvariantOf(finding.failure); !invariant.empty()) {
    Print(StrCat("  must hold   ", invariant, "\n"));
  }
  Print(StrCat("  schedule    ", finding.schedule.size(), " of ", finding.recording.choices.size(),
               " choices are not production's\n"));
  Print(StrCat("  replay      race_gallery run ", entry.id, " --replay=", finding.schedule.ToText(),
               finding.schedule.size() == 0 ? "  # production's order, no deviation\n" : "\n"));
  return html.empty() || WritePage(entry, finding, html);
}

void PrintHead(const Entry& entry) {
  Print(StrCat(entry.id, "  ", entry.restores, "\n", "  scene       ", entry.scene.name, ": ",
               StoryOf(entry.scene.name), "\n"));
}

bool ReplayEntry(const Entry& entry, const Flags& flags) {
  const absl::StatusOr<Schedule> schedule = Schedule::FromText(flags.replay);
  if (!schedule.ok()) {
    Print(StrCat(std::string(schedule.status().message()), "\n"));
    return false;
  }
  PrintHead(entry);
  const ReplayReport report =
      Replay(ScenarioOf(entry.scene, flags.fixed ? Mutant::kNone : entry.mutant), *schedule);
  if (!report.stale.ok()) Print(StrCat("  ", std::string(report.stale.message()), "\n"));
  Print(StrCat("  ", report.has_failed() ? report.recording.failure.text : "no failure", "\n"));
  return report.has_failed() != flags.fixed;
}

std::vector<std::string_view> Patterns(std::string_view text) {
  std::vector<std::string_view> patterns;
  while (!text.empty()) {
    const size_t end = std::min(text.find(','), text.size());
    patterns.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return patterns;
}

// The entry's, unless the command line has one.
Script ScriptOf(const Entry& entry, const Flags& flags) {
  if (flags.last.empty() && flags.first.empty()) return entry.script.value_or(Script());
  return {Patterns(flags.last), Patterns(flags.first)};
}

bool RunOne(const Entry& entry, const Flags& flags) {
  if (!flags.replay.empty()) return ReplayEntry(entry, flags);
  const Mutant mutant = flags.fixed ? Mutant::kNone : entry.mutant;
  PrintHead(entry);
  const ExploreReport report = flags.script
                                   ? PlayScript(entry.scene, mutant, ScriptOf(entry, flags))
                                   : Search(entry.scene, mutant, flags.budget);
  if (report.finding) {
    if (!PrintFinding(entry, mutant, report, flags.html)) return false;
  } else {
    Print(
        StrCat("  no failure in ", report.schedules, " schedules, ", InSeconds(report.time), "\n"));
    if (flags.script && !report.proof.empty()) Print(StrCat("  ", report.proof, "\n"));
  }
  return report.finding.has_value() != flags.fixed;
}

bool Run(const Flags& flags) {
  std::vector<const Entry*> entries;
  for (const Entry& entry : Entries()) {
    const bool is_wanted =
        std::any_of(flags.ids.begin(), flags.ids.end(),
                    [&](const std::string& id) { return id == entry.id || id == entry.race(); });
    // Without its mutant a scene is the same for all of its mutants.
    const bool is_known = flags.all && flags.fixed && !flags.script &&
                          std::any_of(entries.begin(), entries.end(), [&](const Entry* known) {
                            return known->scene.name == entry.scene.name;
                          });
    const bool has_none = flags.all && flags.script && !entry.script;
    if ((flags.all || is_wanted) && !is_known && !has_none) entries.push_back(&entry);
  }
  if (entries.empty()) Print("no such race in the gallery; race_gallery list shows them\n");
  if (flags.all) {
    return PrintTable(entries, {flags.fixed, flags.script, flags.goals, flags.budget});
  }
  bool is_well = !entries.empty();
  for (const Entry* entry : entries) {
    if (!RunOne(*entry, flags)) is_well = false;
  }
  return is_well;
}

// ---- debate -------------------------------------------------------------------------------------

void PrintVerdict(const Policy& policy, const Verdict& verdict) {
  char line[128];
  std::snprintf(line, sizeof(line), "%-24s %5llu of %llu\n", policy.name.data(),
                static_cast<unsigned long long>(verdict.failed),
                static_cast<unsigned long long>(verdict.schedules));
  Print(line);
  Print(StrCat("    ", policy.claim, "\n"));
  Print(StrCat("    in production's order ",
               verdict.in_production.empty() ? "nothing happens" : verdict.in_production, "\n"));
  Print(StrCat("    with the commit ahead ",
               verdict.commit_first.empty() ? "nothing happens" : verdict.commit_first, "\n"));
  for (const WayToFail& way : verdict.ways) {
    std::snprintf(line, sizeof(line), "    %5llu  ",
                  static_cast<unsigned long long>(way.schedules));
    Print(StrCat(line, way.what, "\n"));
  }
  if (!verdict.proof.empty()) Print(StrCat("    ", verdict.proof, "\n"));
  Print("\n");
}

bool Debate(const Flags& flags) {
  const uint64_t schedules = std::min<uint64_t>(flags.budget.schedules, kDebateSchedules);
  Print(
      "A commit of C into D is at work, with its filter F between B and C, when a stream into A\n"
      "starts whose base is C; where that is refused because of F, down to B instead:\n\n"
      "    A <- B <- [F] <- C <- ... <- D      (n4 <- n3 <- [cf] <- n2 <- n1 <- n0)\n\n"
      "Both end in whatever order. What must stream know then of what lies below B? Each policy\n"
      "plays production's order and random orders. Allowed in the end is A <- D alone.\n\n"
      "policy                   fails in schedules, and how\n");
  bool is_well = true;
  for (const Policy& policy : Policies()) {
    const Verdict verdict = Judge(policy, schedules, flags.budget.seed);
    PrintVerdict(policy, verdict);
    if ((verdict.failed > 0) != (policy.mutant != Mutant::kNone)) is_well = false;
  }
  return is_well;
}

// ---- The command line ---------------------------------------------------------------------------

bool TakeValue(std::string_view argument, std::string_view flag, std::string* value) {
  if (!argument.starts_with(flag)) return false;
  *value = std::string(argument.substr(flag.size()));
  return true;
}

bool TakeFlag(std::string_view argument, Flags* flags) {
  std::string value;
  if (argument == "--all") {
    flags->all = true;
  } else if (argument == "--fixed") {
    flags->fixed = true;
  } else if (argument == "--script") {
    flags->script = true;
  } else if (argument == "--goals") {
    flags->goals = true;
  } else if (argument == "--markdown") {
    flags->markdown = true;
  } else if (TakeValue(argument, "--replay=", &flags->replay) ||
             TakeValue(argument, "--html=", &flags->html) ||
             TakeValue(argument, "--last=", &flags->last) ||
             TakeValue(argument, "--first=", &flags->first)) {
  } else if (TakeValue(argument, "--seconds=", &value)) {
    flags->budget.seconds = std::atof(value.c_str());
  } else if (TakeValue(argument, "--schedules=", &value)) {
    flags->budget.schedules = std::strtoull(value.c_str(), nullptr, 10);
  } else if (TakeValue(argument, "--seed=", &value)) {
    flags->budget.seed = std::strtoull(value.c_str(), nullptr, 10);
  } else {
    return false;
  }
  return true;
}

std::optional<Flags> ParseFlags(const std::vector<std::string_view>& arguments) {
  Flags flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    if (argument == "--html" && i + 1 < arguments.size()) {
      flags.html = std::string(arguments[++i]);
    } else if (argument.starts_with("--")) {
      if (!TakeFlag(argument, &flags)) return std::nullopt;
    } else if (flags.command.empty()) {
      flags.command = std::string(argument);
    } else {
      flags.ids.emplace_back(argument);
    }
  }
  const bool is_run = flags.command == "run";
  if (is_run ? flags.ids.empty() != flags.all : !flags.ids.empty()) return std::nullopt;
  return flags;
}

}  // namespace

std::string GalleryTable() {
  std::string table = "| race | | years | broke in QEMU | | mutants, or why there is none |\n";
  StrAppend(&table, "|---|---|---|---|---|---|\n");
  for (const Race& race : Races()) {
    StrAppend(&table, "| ", race.id, " | ", race.name, " | ", race.years, " | ", race.invariants,
              " | ", std::string(1, static_cast<char>(race.race_class)));
    StrAppend(&table, " | ", StandingOf(race), " |\n");
  }
  StrAppend(&table, "\nMutants of these races:\n\n", MutantTable(true),
            "\nMutants of bugs of Millrace's own, found in it or planted in its tests:\n\n",
            MutantTable(false));
  return table;
}

int RunCommand(const std::vector<std::string_view>& arguments) {
  const std::optional<Flags> flags = ParseFlags(arguments);
  bool is_well = false;
  if (flags && flags->command == "list") {
    flags->markdown ? Print(GalleryTable()) : PrintList();
    is_well = true;
  } else if (flags && flags->command == "run") {
    is_well = Run(*flags);
  } else if (flags && flags->command == "debate") {
    is_well = Debate(*flags);
  } else {
    std::fputs(kUsage, stderr);
    return 2;
  }
  return is_well ? 0 : 1;
}

}  // namespace millrace::gallery
