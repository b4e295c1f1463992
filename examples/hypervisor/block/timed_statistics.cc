#include "examples/hypervisor/block/timed_statistics.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr const char* kKindNames[TimedStatistics::kKinds] = {"rd", "wr", "flush"};

}  // namespace

TimedAverage::TimedAverage(Nanoseconds period, Nanoseconds now) : period_(period) {
  windows_[0].end = now + period / 2;
  windows_[1].end = now + period;
}

void TimedAverage::Advance(Nanoseconds now) {
  for (Window& window : windows_) {
    if (now < window.end) continue;
    const Nanoseconds periods = (now - window.end) / period_ + 1;
    window = Window{.end = window.end + periods * period_};
  }
}

void TimedAverage::Count(Nanoseconds took, Nanoseconds now) {
  Advance(now);
  for (Window& window : windows_) {
    window.least = window.count == 0 ? took : std::min(window.least, took);
    window.most = std::max(window.most, took);
    window.sum += took;
    ++window.count;
  }
}

TimedAverage::Told TimedAverage::Tell(Nanoseconds now) {
  Advance(now);
  const Window& window = Older();
  if (window.count == 0) return {};
  const Nanoseconds elapsed = std::max<Nanoseconds>(1, now - (window.end - period_));
  return {.least = window.least,
          .most = window.most,
          .mean = window.sum / static_cast<Nanoseconds>(window.count),
          .depth = static_cast<double>(window.sum) / static_cast<double>(elapsed)};
}

TimedStatistics::TimedStatistics(uint32_t seconds, Nanoseconds now)
    : seconds_(seconds),
      averages_{TimedAverage(seconds * kSecond, now), TimedAverage(seconds * kSecond, now),
                TimedAverage(seconds * kSecond, now)} {}

json::object TimedStatistics::Describe(Nanoseconds now) {
  json::object shown = {{"interval_length", seconds_}};
  for (size_t kind = 0; kind < kKinds; ++kind) {
    const std::string name = kKindNames[kind];
    const TimedAverage::Told told = averages_[kind].Tell(now);
    shown["min_" + name + "_latency_ns"] = told.least;
    shown["max_" + name + "_latency_ns"] = told.most;
    shown["avg_" + name + "_latency_ns"] = told.mean;
    if (name != "flush") shown["avg_" + name + "_queue_depth"] = told.depth;
  }
  return shown;
}

}  // namespace millrace
