#include "millrace/graph/guest_load.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace millrace {
namespace {

constexpr unsigned kFirstBits = 10;  // below 2^10 ns nothing is told apart
// The mean of the undisturbed follows the last so many.
constexpr uint64_t kMeanOver = 512;

}  // namespace

// ---- LatencyHistogram --------------------------------------------------------------------------

size_t LatencyHistogram::BucketOf(Nanoseconds latency) {
  const auto value = static_cast<uint64_t>(std::max<Nanoseconds>(latency, 0));
  if (value < (uint64_t{1} << kFirstBits)) return 0;
  const auto exponent = static_cast<unsigned>(std::bit_width(value)) - 1;
  const size_t quarter = (value >> (exponent - 2)) & 3;
  return std::min<size_t>(1 + size_t{4} * (exponent - kFirstBits) + quarter, kBuckets - 1);
}

Nanoseconds LatencyHistogram::UpperBound(size_t bucket) {
  if (bucket == 0) return (Nanoseconds{1} << kFirstBits) - 1;
  const size_t exponent = kFirstBits + (bucket - 1) / 4;
  const auto quarter = static_cast<Nanoseconds>((bucket - 1) % 4);
  return ((4 + quarter + 1) << (exponent - 2)) - 1;
}

LatencyHistogram LatencyHistogram::Since(const LatencyHistogram& earlier) const {
  LatencyHistogram difference;
  for (size_t i = 0; i < kBuckets; ++i) {
    difference.counts_[i] = counts_[i] - earlier.counts_[i];
  }
  return difference;
}

uint64_t LatencyHistogram::count() const {
  uint64_t sum = 0;
  for (const uint32_t each : counts_) sum += each;
  return sum;
}

Nanoseconds LatencyHistogram::Percentile(double share) const {
  const uint64_t all = count();
  const auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(all)));
  uint64_t sum = 0;
  for (size_t i = 0; i < kBuckets && all > 0; ++i) {
    sum += counts_[i];
    if (counts_[i] > 0 && sum >= wanted) return UpperBound(i);
  }
  return 0;
}

// ---- GuestLoad ---------------------------------------------------------------------------------

GuestLoad::Request::Request(GuestLoad* load, bool is_write) : load_(load) {
  if (load_ == nullptr) return;
  begin_ = load_->clock_.Now();
  batches_begun_ = load_->batches_begun_;
  is_disturbed_ = load_->batches_in_flight_ > 0;
  ++load_->in_flight_;
  load_->last_activity_ = begin_;
  if (is_write) load_->last_write_ = begin_;
}

GuestLoad::Request::~Request() {
  if (load_ == nullptr) return;
  GuestLoad& load = *load_;
  const Nanoseconds end = load.clock_.Now();
  const Nanoseconds latency = end - begin_;
  load.last_activity_ = end;
  --load.in_flight_;
  ++load.ended_;
  load.total_latency_ += latency;
  load.latencies_.Add(latency);
  if (end >= load.next_sample_) load.TakeSample(end);
  if (is_disturbed_ || load.batches_begun_ != batches_begun_) return;
  load.undisturbed_ += 1;
  const double weight = 1.0 / static_cast<double>(std::min(load.undisturbed_, kMeanOver));
  load.undisturbed_mean_ += weight * (static_cast<double>(latency) - load.undisturbed_mean_);
}

// Called when a request ends, and not so often that it would matter.
void GuestLoad::TakeSample(Nanoseconds now) {
  if (copiers_ > 0) return;
  if (sample_count_ > 0 && now - samples_[sample_count_ - 1].at > 2 * kSampleEvery) {
    sample_count_ = 0;  // they were idle in between
  }
  if (sample_count_ == kSamplesMax) {
    std::copy(samples_.begin() + 1, samples_.end(), samples_.begin());
    --sample_count_;
  }
  samples_[sample_count_++] = {now, ended_, total_latency_};
  next_sample_ = now + kSampleEvery;
}

void GuestLoad::OnCopierBegin() {
  if (copiers_++ > 0 || sample_count_ == 0) return;
  const Nanoseconds now = clock_.Now();
  const Sample& oldest = samples_.front();
  const bool are_active = now - samples_[sample_count_ - 1].at <= 2 * kSampleEvery;
  const Nanoseconds time = now - oldest.at;
  const uint64_t requests = ended_ - oldest.ended;
  if (!are_active || time < kSecond / 2 || requests == 0) return;
  quiet_ = {.until = now,
            .mean = static_cast<double>(total_latency_ - oldest.total_latency) /
                    static_cast<double>(requests),
            .rate = static_cast<double>(requests) / static_cast<double>(time)};
}

void GuestLoad::OnCopierEnd() {
  if (--copiers_ > 0) return;
  sample_count_ = 0;
  next_sample_ = 0;
}

}  // namespace millrace
