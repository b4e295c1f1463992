// A guest whose operations may fail, and what it may see afterwards: for fault loops over a format
// driver.
//
// After a failed write every byte of it holds the old value or the new; after another failed write
// there, one of three. What was there at the last successful flush is not lost, whatever fails.
#ifndef MILLRACE_TESTS_SUPPORT_FAULTED_GUEST_H_
#define MILLRACE_TESTS_SUPPORT_FAULTED_GUEST_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/fake_driver_context.h"
#include "tests/support/qcow2_images.h"

namespace millrace {

class FaultedGuest {
 public:
  // `model`: what the disk holds at first. `node` must outlive the guest's operations.
  FaultedGuest(FormatNode& node, std::vector<uint8_t> model)
      : node_(node), model_(std::move(model)), other_(model_), third_(model_), flushed_(model_) {}

  uint64_t cluster() const { return node_.driver().cluster_bytes(); }
  uint64_t bytes() const { return model_.size(); }
  int failures() const { return failures_; }

  void CoWrite(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    const std::vector<uint8_t> data = Pattern(bytes, offset + 1);
    Remember(offset, data, node_.CoWrite(offset, data));
  }
  void CoZero(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    Remember(offset, std::vector<uint8_t>(bytes), node_.CoWriteZeroes(ByteRange(offset, bytes)));
  }
  // What is discarded reads as before or as zeroes.
  void CoDiscard(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    Count(node_.CoDiscard(ByteRange(offset, bytes)));
    MayBeZero(offset, offset + bytes);
  }
  void CoPopulate(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    Count(node_.CoPopulate(ByteRange(offset, bytes)));
  }
  void CoFlush() MILLRACE_MAY_SUSPEND {
    const absl::Status status = node_.CoFlush();
    Count(status);
    if (!status.ok()) return;
    flushed_ = model_;
    unflushed_.clear();
  }
  // A failed resize leaves the old size; what was to be cut off may be gone already.
  void CoResize(uint64_t bytes) MILLRACE_MAY_SUSPEND {
    const absl::Status status = node_.CoResize(bytes);
    Count(status);
    if (!status.ok()) {
      if (bytes < model_.size()) MayBeZero(bytes, model_.size());
      return;
    }
    for (auto* values : {&model_, &other_, &third_, &flushed_}) values->resize(bytes);
  }
  void CoRead(uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> now(bytes);
    const absl::Status status = node_.CoRead(offset, absl::MakeSpan(now));
    Count(status);
    if (status.ok() && wrong_.ok()) wrong_ = Compare(offset, now);
  }

  // OK if `node`, which may be another one on the same disk, and everything read so far show
  // nothing impossible; else the first wrong byte.
  absl::Status CoVerify(FormatNode& node) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(wrong_);
    std::vector<uint8_t> now(std::min<uint64_t>(node.driver().bytes(), model_.size()));
    MILLRACE_RETURN_IF_ERROR(node.CoRead(0, absl::MakeSpan(now)));
    return Compare(0, now);
  }
  // The same for a device that has failed for ever: what was not flushed may be lost.
  absl::Status CoVerifyFlushed(FormatNode& node) MILLRACE_MAY_SUSPEND {
    may_be_lost_ = true;
    return CoVerify(node);
  }

 private:
  void Count(const absl::Status& status) { failures_ += status.ok() ? 0 : 1; }
  void MayBeZero(uint64_t begin, uint64_t end) {
    unflushed_.push_back({begin, std::vector<uint8_t>(end - begin)});
    for (uint64_t i = begin; i < end; ++i) {
      third_[i] = other_[i];
      other_[i] = 0;
    }
  }
  void Remember(uint64_t offset, const std::vector<uint8_t>& data, const absl::Status& status) {
    Count(status);
    unflushed_.push_back({offset, data});
    const auto set = [&](std::vector<uint8_t>& what, const std::vector<uint8_t>& from,
                         uint64_t begin) {
      std::copy_n(from.data() + begin, data.size(), what.data() + offset);
    };
    set(third_, status.ok() ? data : other_, status.ok() ? 0 : offset);
    set(other_, status.ok() ? data : model_, status.ok() ? 0 : offset);
    set(model_, data, 0);
  }
  absl::Status Compare(uint64_t offset, const std::vector<uint8_t>& now) const {
    constexpr uint64_t kPart = 512;
    for (uint64_t begin = 0; begin < now.size(); begin += kPart) {
      const uint64_t end = std::min<uint64_t>(begin + kPart, now.size());
      if (std::equal(now.data() + begin, now.data() + end, model_.data() + offset + begin))
        continue;
      MILLRACE_RETURN_IF_ERROR(ComparePart(offset, now, begin, end));
    }
    return absl::OkStatus();
  }
  absl::Status ComparePart(uint64_t offset, const std::vector<uint8_t>& now, uint64_t begin,
                           uint64_t end) const {
    for (uint64_t i = begin; i < end; ++i) {
      const uint64_t at = offset + i;
      if (now[i] == model_[at] || now[i] == other_[at] || now[i] == third_[at]) continue;
      if (may_be_lost_ && (now[i] == flushed_[at] || WasWritten(at, now[i]))) continue;
      return absl::InternalError(StrCat("byte ", at, " is ", int{now[i]}, ", not ", int{model_[at]},
                                        ", ", int{other_[at]}, " or ", int{third_[at]}));
    }
    return absl::OkStatus();
  }

  // Since the last successful flush.
  bool WasWritten(uint64_t at, uint8_t value) const {
    return std::any_of(unflushed_.begin(), unflushed_.end(), [&](const Change& change) {
      return at >= change.offset && at - change.offset < change.data.size() &&
             change.data[at - change.offset] == value;
    });
  }

  struct Change {
    uint64_t offset = 0;
    std::vector<uint8_t> data;
  };

  FormatNode& node_;
  std::vector<uint8_t> model_;
  std::vector<uint8_t> other_;
  std::vector<uint8_t> third_;
  std::vector<uint8_t> flushed_;   // what the last successful flush found
  std::vector<Change> unflushed_;  // what was tried since, whatever came of it
  bool may_be_lost_ = false;
  absl::Status wrong_;
  int failures_ = 0;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_FAULTED_GUEST_H_
