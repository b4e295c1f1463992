#include "millrace/engine/explore/regression_test.h"

#include <algorithm>
#include <cctype>

#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kLineMax = 100;

std::string ShellQuoted(std::string_view text) {
  std::string quoted = "'";
  for (char c : text) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted.push_back(c);
    }
  }
  return quoted + "'";
}

// "O10 deadlock" -> "O10Deadlock".
std::string CamelCase(std::string_view text) {
  std::string name;
  bool starts_word = true;
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) == 0) {
      starts_word = true;
      continue;
    }
    name.push_back(starts_word ? static_cast<char>(std::toupper(byte)) : c);
    starts_word = false;
  }
  return name.empty() ? "Failure" : name;
}

std::string OneLine(std::string_view text) {
  std::string line(text.substr(0, text.find('\n')));
  std::replace_if(
      line.begin(), line.end(),
      [](char c) { return std::iscntrl(static_cast<unsigned char>(c)) != 0; }, ' ');
  line.resize(std::min(line.size(), kLineMax - 5));
  // In a comment, a backslash at the end would take the next line in.
  line.resize(line.find_last_not_of("\\ ") + 1);  // npos + 1 is 0
  return line;
}

// The text as string literals of at most a line each. Text of schedules needs no escapes.
std::string Literals(std::string_view text, std::string_view indent) {
  std::string literals;
  const size_t piece = kLineMax - indent.size() - 2;
  do {
    StrAppend(&literals, "\n", indent, "\"", text.substr(0, piece), "\"");
    text.remove_prefix(std::min(piece, text.size()));
  } while (!text.empty());
  return literals;
}

}  // namespace

std::string ReplayLine(std::string_view program, std::string_view scenario,
                       const Finding& finding) {
  return StrCat("replay: ", program, " --scenario=", ShellQuoted(scenario),
                " --schedule=", finding.schedule.ToText(), "  # ",
                OneLine(finding.failure.signature));
}

std::string RegressionTest(std::string_view suite, std::string_view scenario_expression,
                           const Finding& finding) {
  return StrCat("// ", OneLine(finding.failure.text), "\nTEST(", suite, ", ",
                CamelCase(finding.failure.signature), "DoesNotComeBack) {\n",
                "  const absl::StatusOr<millrace::Schedule> schedule = "
                "millrace::Schedule::FromText(",
                Literals(finding.schedule.ToText(), "      "), ");\n",
                "  ASSERT_TRUE(schedule.ok()) << schedule.status();\n",
                "  const millrace::ReplayReport report = millrace::Replay(", scenario_expression,
                ", *schedule);\n",
                "  EXPECT_FALSE(report.has_failed()) << report.recording.failure.text;\n",
                "  EXPECT_TRUE(report.stale.ok()) << report.stale;\n", "}\n");
}

}  // namespace millrace
