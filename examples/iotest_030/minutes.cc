#include "examples/iotest_030/minutes.h"

namespace millrace {
namespace {

constexpr int kCaseCells = 24;
constexpr int kAskedCells = 52;

void PrintRow(FILE* out, const std::string& name, const std::string& asked,
              const std::string& answer) {
  if (answer.empty()) {
    fprintf(out, "%-*s %s\n", kCaseCells, name.c_str(), asked.c_str());
  } else {
    fprintf(out, "%-*s %-*s %s\n", kCaseCells, name.c_str(), kAskedCells, asked.c_str(),
            answer.c_str());
  }
}

}  // namespace

void Minutes::PrintHeadline(FILE* out) {
  PrintRow(out, "case", "what was asked", "what was refused, with which text");
}

void Minutes::Print(FILE* out, const Case& which) const {
  std::string name = std::string(1, which.section) + " " + std::string(which.name);
  for (const Line& line : lines_) {
    PrintRow(out, name, line.asked, line.answer);
    name.clear();
  }
  PrintRow(out, name, "chain: " + (chain_.empty() ? "none" : chain_), "");
  if (has_failed()) {
    fprintf(out, "%-*s FAILED: %s\n\n", kCaseCells, "", failure_.c_str());
  } else {
    fprintf(out, "%-*s ok, %.0f ms\n\n", kCaseCells, "", seconds_ * 1000);
  }
}

}  // namespace millrace
