#include "examples/common/progress_display.h"

#include <unistd.h>

#include <algorithm>

#include "examples/common/sizes.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr Nanoseconds kLineEvery = 2 * kSecond;
constexpr size_t kBarCells = 24;

uint64_t Percent(const ProgressEntry& entry) {
  if (entry.total_bytes == 0) return entry.phase == "done" ? 100 : 0;
  return std::min<uint64_t>(100, entry.done_bytes * 100 / entry.total_bytes);
}

std::string Bar(uint64_t percent) {
  const size_t full = kBarCells * percent / 100;
  std::string bar = "[";
  bar.append(full, '#');
  bar.append(kBarCells - full, '.');
  return bar + "]";
}

std::string Padded(std::string text, size_t cells) {
  if (text.size() < cells) text.append(cells - text.size(), ' ');
  return text;
}

}  // namespace

ProgressDisplay::ProgressDisplay(FILE* out, bool is_quiet)
    : out_(out), is_quiet_(is_quiet), is_terminal_(isatty(fileno(out)) == 1) {}

std::string ProgressDisplay::Describe(const ProgressEntry& entry, uint64_t bytes_per_second) {
  std::string text =
      StrCat(Padded(entry.phase, 10), " ", Percent(entry), " %, ", BytesInWords(entry.done_bytes),
             " of ", BytesInWords(entry.total_bytes));
  if (bytes_per_second == 0) return text;
  StrAppend(&text, ", ", BytesInWords(bytes_per_second), "/s");
  if (entry.phase == "running" && entry.total_bytes > entry.done_bytes) {
    StrAppend(&text, ", ",
              SecondsInWords((entry.total_bytes - entry.done_bytes) / bytes_per_second), " left");
  }
  return text;
}

ProgressDisplay::Rate& ProgressDisplay::Update(Nanoseconds now, const ProgressEntry& entry) {
  const auto [found, is_new] = rates_.try_emplace(entry.name);
  Rate& rate = found->second;
  if (is_new || entry.done_bytes < rate.last_bytes) {
    rate.since = rate.last_time = now;
    rate.last_bytes = entry.done_bytes;
  }
  // Half a second at least: shorter measurements only show how the job batches its work.
  if (const Nanoseconds passed = now - rate.last_time; passed >= kSecond / 2) {
    const double current = static_cast<double>(entry.done_bytes - rate.last_bytes) * kSecond /
                           static_cast<double>(passed);
    rate.bytes_per_second =
        rate.bytes_per_second == 0 ? current : 0.6 * rate.bytes_per_second + 0.4 * current;
    rate.last_time = now;
    rate.last_bytes = entry.done_bytes;
  }
  return rate;
}

void ProgressDisplay::Draw(const ProgressEntry& entry, const Rate& rate) {
  fprintf(out_, "%s %s %s\n", Padded(entry.name, name_cells_).c_str(), Bar(Percent(entry)).c_str(),
          Describe(entry, static_cast<uint64_t>(rate.bytes_per_second)).c_str());
}

void ProgressDisplay::EraseBars() {
  for (size_t i = 0; i < shown_.size(); ++i) fputs("\x1b[1A\x1b[2K", out_);
}

void ProgressDisplay::Show(Nanoseconds now, const std::vector<ProgressEntry>& entries) {
  if (is_quiet_) return;
  if (is_terminal_) EraseBars();
  for (const ProgressEntry& entry : entries) {
    name_cells_ = std::max(name_cells_, entry.name.size());
  }
  for (const ProgressEntry& entry : entries) {
    Rate& rate = Update(now, entry);
    if (is_terminal_) {
      Draw(entry, rate);
    } else if (rate.phase != entry.phase || now - rate.last_line >= kLineEvery) {
      if (rate.phase != entry.phase || entry.phase == "running") {
        fprintf(out_, "%s: %s\n", entry.name.c_str(),
                Describe(entry, static_cast<uint64_t>(rate.bytes_per_second)).c_str());
      }
      rate.phase = entry.phase;
      rate.last_line = now;
    }
  }
  if (is_terminal_) shown_ = entries;
  fflush(out_);
}

void ProgressDisplay::Say(std::string_view line) {
  if (is_quiet_) return;
  if (is_terminal_) EraseBars();
  fprintf(out_, "%.*s\n", static_cast<int>(line.size()), line.data());
  if (is_terminal_) {
    for (const ProgressEntry& entry : shown_) Draw(entry, rates_[entry.name]);
  }
  fflush(out_);
}

void ProgressDisplay::Finish() {
  shown_.clear();
  rates_.clear();
}

}  // namespace millrace
