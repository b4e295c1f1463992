// Compare: measures an operation of ours and a peer's in one rotation, and reports their ratio.
//
// Absolute figures of a shared machine drift by a third within a minute; a ratio of two things
// measured in turn does not. Each iteration times one batch of both, in processor time of this
// thread, so that being preempted counts for neither. Counters: the medians "ours_ns" and "peer_ns"
// per operation, and "ratio", the median of ours / peer over the iterations.
#ifndef MILLRACE_BENCH_COMPARE_H_
#define MILLRACE_BENCH_COMPARE_H_

#include <time.h>

#include <algorithm>
#include <vector>

#include <benchmark/benchmark.h>

namespace millrace::bench {

inline double ThreadNanoseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

inline double Median(std::vector<double> values) {
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

template <typename Batch>
double NanosecondsPerOperation(Batch&& batch, size_t operations) {
  const double start = ThreadNanoseconds();
  batch(operations);
  return (ThreadNanoseconds() - start) / static_cast<double>(operations);
}

// `ours(n)` and `peer(n)` do n operations.
template <typename Ours, typename Peer>
void Compare(benchmark::State& state, size_t operations, Ours&& ours, Peer&& peer) {
  std::vector<double> our_times;
  std::vector<double> peer_times;
  std::vector<double> ratios;
  for (auto _ : state) {
    peer_times.push_back(NanosecondsPerOperation(peer, operations));
    our_times.push_back(NanosecondsPerOperation(ours, operations));
    ratios.push_back(our_times.back() / peer_times.back());
    state.SetIterationTime(our_times.back() * static_cast<double>(operations) / 1e9);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(operations));
  state.counters["ours_ns"] = Median(our_times);
  state.counters["peer_ns"] = Median(peer_times);
  state.counters["ratio"] = Median(ratios);
}

}  // namespace millrace::bench

#endif  // MILLRACE_BENCH_COMPARE_H_
