#include "millrace/graph/filters/throttle.h"

#include <optional>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/mutant.h"
#include "millrace/engine/base/status_macros.h"

namespace millrace {
namespace {

class ThrottleDriver final : public FilterDriver {
 public:
  explicit ThrottleDriver(std::shared_ptr<ThrottleGroup> group) : group_(std::move(group)) {
    MILLRACE_CHECK(group_ != nullptr, "a throttle filter needs a group");
  }

  std::string_view driver_name() const override { return "throttle"; }

  absl::Status CoOpenFilter() override MILLRACE_MAY_SUSPEND {
    member_.emplace(*group_, context().node_name());
    MILLRACE_MUTANT(kM01) return absl::OkStatus();
    for (int i = 0; i < drains_; ++i) member_->BeginDrain();
    return absl::OkStatus();
  }
  void CoClose() override MILLRACE_MAY_SUSPEND { member_.reset(); }

  // Nothing waits in a drained filter.
  void TakeOptionsOf(Driver& fresh) override {
    MILLRACE_MUTANT(kR34) {  // still registered with the group that it leaves
      group_ = static_cast<ThrottleDriver&>(fresh).group_;
      return;
    }
    member_.reset();
    group_ = static_cast<ThrottleDriver&>(fresh).group_;
    member_.emplace(*group_, context().node_name());
    for (int i = 0; i < drains_; ++i) member_->BeginDrain();
  }

  void BeginDrain() override {
    ++drains_;
    if (member_.has_value()) member_->BeginDrain();
  }
  void EndDrain() override {
    --drains_;
    if (member_.has_value()) member_->EndDrain();
  }

  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    member_->CoPass(ThrottleDirection::kRead, target.bytes());
    return FilterDriver::CoRead(offset, target);
  }
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND {
    member_->CoPass(ThrottleDirection::kWrite, source.bytes());
    return FilterDriver::CoWrite(offset, source, flags);
  }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    member_->CoPass(ThrottleDirection::kWrite, range.bytes);
    return FilterDriver::CoWriteZeroes(range, flags);
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    member_->CoPass(ThrottleDirection::kWrite, range.bytes);
    return FilterDriver::CoDiscard(range);
  }

 private:
  std::shared_ptr<ThrottleGroup> group_;
  std::optional<ThrottleGroup::Member> member_;  // between CoOpen and CoClose
  int drains_ = 0;
};

}  // namespace

std::unique_ptr<FilterDriver> MakeThrottleDriver(std::shared_ptr<ThrottleGroup> group) {
  return std::make_unique<ThrottleDriver>(std::move(group));
}

}  // namespace millrace
