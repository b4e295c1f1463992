// Random operations on an open image against a model in memory.
#ifndef MILLRACE_TESTS_SUPPORT_QCOW2_WORKLOAD_H_
#define MILLRACE_TESTS_SUPPORT_QCOW2_WORKLOAD_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/fake_driver_context.h"
#include "tests/support/qcow2_images.h"

namespace millrace {

// Whether the image reads as the model in this range.
inline absl::Status CoVerifyAgainst(const std::vector<uint8_t>& model, FormatNode& node,
                                    ByteRange range) MILLRACE_MAY_SUSPEND {
  std::vector<uint8_t> now(range.bytes);
  MILLRACE_RETURN_IF_ERROR(node.CoRead(range.offset, absl::MakeSpan(now)));
  for (uint64_t i = 0; i < range.bytes; ++i) {
    if (now[i] != model[range.offset + i]) {
      return absl::InternalError(StrCat("byte ", range.offset + i, " is ", int{now[i]},
                                        " instead of ", int{model[range.offset + i]}));
    }
  }
  return absl::OkStatus();
}

// What the guest must see. Discarded bytes may read as before or as zero; the model follows the
// driver, whose discards are deterministic, by reading back.
class Qcow2Workload {
 public:
  Qcow2Workload(uint64_t seed, FormatNode& node, std::vector<uint8_t> model, bool may_grow = true)
      : random_(seed, "workload"), node_(node), model_(std::move(model)), may_grow_(may_grow) {}

  absl::Status CoStep() MILLRACE_MAY_SUSPEND {
    const ByteRange range = RandomRange();
    switch (random_.Below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
        return CoWrite(range);
      case 4:
        return CoZero(range);
      case 5:
        return CoDiscard(range);
      case 6:
        return node_.CoFlush();
      case 7:
        return node_.CoPopulate(range);
      case 8:
        return may_grow_ && random_.OneIn(4) ? CoGrow() : absl::OkStatus();
      default:
        return CoVerify(range);
    }
  }
  absl::Status CoVerifyAll() MILLRACE_MAY_SUSPEND { return CoVerify(ByteRange(0, model_.size())); }
  std::vector<uint8_t>& model() { return model_; }

 private:
  ByteRange RandomRange() {
    if (random_.OneIn(6)) return WholeUnits();
    const uint64_t unit = random_.OneIn(3) ? 1 : random_.OneIn(2) ? 512 : 4096;
    const uint64_t offset = random_.Below(model_.size()) / unit * unit;
    const uint64_t limit = random_.OneIn(4) ? 256 * 1024 : 8192;
    const uint64_t bytes = 1 + random_.Below(limit);
    return ByteRange(offset, std::min(AlignUp(bytes, unit), model_.size() - offset));
  }
  // Clusters or subclusters: what is zeroed and discarded without touching its neighbours' bytes.
  ByteRange WholeUnits() {
    const FormatDriver& driver = node_.driver();
    const uint64_t unit = random_.OneIn(2) ? driver.cluster_bytes() : driver.zero_granularity();
    const uint64_t offset = AlignDown(random_.Below(model_.size()), unit);
    const uint64_t bytes = unit * (1 + random_.Below(3));
    return ByteRange(offset, std::min(bytes, model_.size() - offset));
  }
  absl::Status CoWrite(ByteRange range) MILLRACE_MAY_SUSPEND {
    const std::vector<uint8_t> data = Pattern(range.bytes, random_.Next());
    const absl::Status status = node_.CoWrite(range.offset, data);
    if (status.ok()) {
      std::copy(data.begin(), data.end(), model_.begin() + static_cast<ptrdiff_t>(range.offset));
    }
    return status;
  }
  absl::Status CoZero(ByteRange range) MILLRACE_MAY_SUSPEND {
    const absl::Status status = node_.CoWriteZeroes(range, {.may_unmap = random_.OneIn(2)});
    if (status.ok()) {
      std::fill_n(model_.begin() + static_cast<ptrdiff_t>(range.offset), range.bytes, uint8_t{0});
    }
    return status;
  }
  absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(node_.CoDiscard(range));
    std::vector<uint8_t> now(range.bytes);
    MILLRACE_RETURN_IF_ERROR(node_.CoRead(range.offset, absl::MakeSpan(now)));
    for (uint64_t i = 0; i < range.bytes; ++i) {
      uint8_t& old = model_[range.offset + i];
      if (now[i] != old && now[i] != 0) {
        return absl::InternalError("a discarded byte reads as something new");
      }
      old = now[i];
    }
    return absl::OkStatus();
  }
  absl::Status CoGrow() MILLRACE_MAY_SUSPEND {
    const uint64_t bytes = AlignUp(model_.size() + random_.Below(model_.size() / 2 + 4096), 512);
    MILLRACE_RETURN_IF_ERROR(node_.CoResize(bytes));
    model_.resize(bytes);
    return absl::OkStatus();
  }
  absl::Status CoVerify(ByteRange range) MILLRACE_MAY_SUSPEND {
    return CoVerifyAgainst(model_, node_, range);
  }

  RandomStream random_;
  FormatNode& node_;
  std::vector<uint8_t> model_;
  const bool may_grow_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_QCOW2_WORKLOAD_H_
