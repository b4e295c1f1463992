#include "millrace/jobs/copy/guest_watch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "millrace/engine/io/buffer_pool.h"

namespace millrace {
namespace {

// What a job may have in flight beside guests: without a latency target always kLevel, with one
// what keeps it. A device serves one request after the other, so a guest's request waits for at
// most the rest of one of ours: little, if ours is small. And while our next one is being prepared
// the device is the guests' alone: with small pieces that is a larger part of the time, for which
// the job need not rest.
constexpr GuestWatch::Allowance kLevels[] = {
    {1, uint64_t{64} << 10},  {1, uint64_t{128} << 10}, {1, uint64_t{256} << 10},
    {1, uint64_t{512} << 10}, {1, uint64_t{1} << 20},   {2, uint64_t{1} << 20},
    {4, uint64_t{1} << 20},   {8, uint64_t{1} << 20},
};

constexpr size_t kLevel = 1;

// One share is tried for so long, and so many requests.
constexpr Nanoseconds kPeriod = 20 * kMillisecond;
constexpr uint64_t kPeriodRequests = 32;
// With fewer of them.
constexpr Nanoseconds kPeriodMax = 200 * kMillisecond;

// Rests shorter than some of the guests' requests would show only what the shortest of them take.
constexpr double kRestMin = 2 * kMillisecond;
constexpr double kRestMax = 20 * kMillisecond;
// The rate in the rests follows those of so many periods.
constexpr double kRateOver = 8;
constexpr double kRequestsPerRest = 4;
// What the guests had before jobs copied is believed less and less, until only the rests count:
// they may do something else by then.
constexpr Nanoseconds kQuietFor = 10 * kSecond;

// Of the engine's pool, with some left for others.
constexpr uint64_t kMemoryForCopies = uint64_t{48} << 20;
static_assert(kMemoryForCopies < BufferPool::Limits().slabs_max * BufferPool::kSlabBytes);
constexpr uint64_t kBatchBytesMin = uint64_t{128} << 10;

// While it is not known what requests take undisturbed, the job rests for long enough to find out.
constexpr uint64_t kUndisturbedMin = 32;
constexpr double kShareToFindOut = 0.7;

}  // namespace

GuestWatch::GuestWatch(Graph& graph, Nanoseconds latency_target, uint64_t flush_bytes)
    : graph_(graph),
      load_(graph.guest_load()),
      latency_target_(latency_target),
      flush_bytes_(flush_bytes),
      latencies_before_(load_.latencies()),
      seen_(graph.guest_requests()),
      level_(latency_target > 0 ? 0 : kLevel) {
  // Who used the disk just now goes on: the job's first batch is as small as the others.
  if (load_.last_activity() >= 0) active_until_ = load_.last_activity() + kMemory;
  BeginPeriod(graph.engine().clock().Now());
}

bool GuestWatch::IsGuestActive() {
  const Nanoseconds now = graph_.engine().clock().Now();
  if (graph_.guest_requests() != seen_ || (active_until_ >= 0 && load_.in_flight() > 0)) {
    if (now >= active_until_) BeginPeriod(now);
    seen_ = graph_.guest_requests();
    active_until_ = now + kMemory;
  }
  return now < active_until_;
}

bool GuestWatch::IsFlushDue() { return unflushed_bytes_ >= flush_bytes_ && IsGuestActive(); }

std::optional<GuestWatch::Allowance> GuestWatch::AllowanceNow() {
  if (!IsGuestActive()) return std::nullopt;
  return kLevels[level_];
}

GuestWatch::Allowance GuestWatch::ShareOf(Allowance wanted) const {
  const uint64_t jobs = std::max<uint64_t>(load_.copiers(), 1);
  const uint64_t share = kMemoryForCopies / jobs;
  Allowance allowance;
  // Two at least, so that one is read while another is written.
  allowance.batch_bytes = std::min(wanted.batch_bytes, std::max(share / 2, kBatchBytesMin));
  const uint64_t batches = share / std::max<uint64_t>(allowance.batch_bytes, 1);
  allowance.batches = std::min(wanted.batches, static_cast<size_t>(std::max<uint64_t>(batches, 1)));
  return allowance;
}

void GuestWatch::SetCopying(bool is_copying) {
  if (std::exchange(is_copying_, is_copying) == is_copying) return;
  if (is_copying) {
    load_.OnCopierBegin();
  } else {
    load_.OnCopierEnd();
  }
}

bool GuestWatch::AreGuestsWriting() const {
  const Nanoseconds last = load_.last_write();
  return last >= 0 && graph_.engine().clock().Now() - last < kMemory;
}

void GuestWatch::OnBatchBegin() {
  load_.OnBatchBegin();
  if (in_flight_++ > 0) return;
  busy_from_ = graph_.engine().clock().Now();
  EndRest(busy_from_);
}

void GuestWatch::OnBatchEnd() {
  load_.OnBatchEnd();
  if (--in_flight_ > 0 || share_ >= 1) return;
  const auto busy = static_cast<double>(graph_.engine().clock().Now() - busy_from_);
  owed_rest_ = std::min(owed_rest_ + busy * (1 - share_) / share_, kRestMax);
}

Nanoseconds GuestWatch::TakeRest() {
  if (!IsGuestActive()) {
    owed_rest_ = 0;
    return 0;
  }
  Adjust();
  const double at_least =
      std::clamp(kRequestsPerRest * load_.undisturbed_mean(), kRestMin, kRestMax);
  if (owed_rest_ < at_least) return 0;
  rest_begin_ = graph_.engine().clock().Now();
  rest_ended_ = load_.ended();
  return static_cast<Nanoseconds>(std::exchange(owed_rest_, 0));
}

void GuestWatch::EndRest(Nanoseconds now) {
  if (rest_begin_ < 0) return;
  rest_time_ += static_cast<double>(now - std::exchange(rest_begin_, -1));
  rest_requests_ += static_cast<double>(load_.ended() - rest_ended_);
}

// ---- How much is right -------------------------------------------------------------------------

void GuestWatch::BeginPeriod(Nanoseconds now) {
  period_begin_ = now;
  period_ended_ = load_.ended();
  period_latency_ = load_.total_latency();
  if (rest_time_ >= kRestMin) {
    const double rate = rest_requests_ / rest_time_;
    rest_rate_ = rest_rate_ ? *rest_rate_ + (rate - *rest_rate_) / kRateOver : rate;
  }
  rest_time_ = rest_requests_ = 0;
  if (latency_target_ > 0) period_latencies_ = load_.latencies();
}

std::optional<double> GuestWatch::Excess() const {
  if (latency_target_ > 0) {
    const LatencyHistogram latencies = load_.latencies().Since(period_latencies_);
    return static_cast<double>(latencies.Percentile(0.99)) / static_cast<double>(latency_target_);
  }
  if (load_.undisturbed() < kUndisturbedMin) return std::nullopt;
  const Undisturbed without_us = UndisturbedNow();
  const auto requests = static_cast<double>(load_.ended() - period_ended_);
  const double mean = static_cast<double>(load_.total_latency() - period_latency_) / requests;
  // A microsecond more or less is nobody's business.
  const double slowdown = mean / (kSlowdownMax * without_us.mean + 1000);
  const auto time = static_cast<double>(graph_.engine().clock().Now() - period_begin_);
  return std::max(slowdown, without_us.rate * kRateMin * time / requests);
}

// By how many requests they have under way on average: a disk that still has much to write in the
// rests makes each slower, but does not make guests ask for less at a time.
bool GuestWatch::WantLess(const GuestLoad::Quiet& before) const {
  if (!rest_rate_) return false;
  return *rest_rate_ * load_.undisturbed_mean() < before.rate * before.mean / 2;
}

// As the rests show it, or as it was before them if that was better: a rest is not as good for the
// guests as no job at all.
GuestWatch::Undisturbed GuestWatch::UndisturbedNow() const {
  Undisturbed now = {load_.undisturbed_mean(), rest_rate_.value_or(0)};
  if (!load_.quiet()) return now;
  const auto age = static_cast<double>(graph_.engine().clock().Now() - load_.quiet()->until);
  const double belief = std::max(1 - age / kQuietFor, 0.0);
  now.mean -= belief * std::max(now.mean - load_.quiet()->mean, 0.0);
  if (!WantLess(*load_.quiet())) {
    now.rate += belief * std::max(load_.quiet()->rate - now.rate, 0.0);
  }
  return now;
}

void GuestWatch::Adjust() {
  const Nanoseconds now = graph_.engine().clock().Now();
  const uint64_t requests = load_.ended() - period_ended_;
  const Nanoseconds enough = requests >= kPeriodRequests ? kPeriod : kPeriodMax;
  if (now - period_begin_ < enough) return;
  const bool has_target = latency_target_ > 0;
  if (requests > 0) {
    const std::optional<double> excess = Excess();
    if (!excess) {
      share_ = std::min(share_, kShareToFindOut);
    } else if (has_target && *excess > 1 && level_ > 0) {
      level_ /= 2;  // less at a time first, then less often
    } else if (has_target && *excess < 0.5 && share_ >= 1) {
      level_ = std::min(level_ + 1, std::size(kLevels) - 1);
    } else {
      const double change = std::clamp(1 / std::max(*excess, 0.01), 0.7, 1.1);
      share_ = std::clamp(share_ * change, has_target ? kShareMinForTarget : kShareMin,
                          has_target ? 1.0 : kShareMax);
    }
  }
  BeginPeriod(now);
}

void GuestWatch::Describe(JobInfo& info) const {
  if (latency_target_ == 0) return;
  const LatencyHistogram latencies = load_.latencies().Since(latencies_before_);
  info.figures.push_back({"latency-target", static_cast<uint64_t>(latency_target_)});
  info.figures.push_back({"guest-requests", latencies.count()});
  info.figures.push_back({"guest-p50", static_cast<uint64_t>(latencies.Percentile(0.5))});
  info.figures.push_back({"guest-p99", static_cast<uint64_t>(latencies.Percentile(0.99))});
}

}  // namespace millrace
