#include "tests/support/qcow2_interop_guest.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/observer.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/open_image.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/simulation.h"

namespace millrace {
namespace {

constexpr size_t kWorkers = 3;
constexpr int kSteps = 6;
constexpr uint64_t kAtOnceMax = 3;  // of one worker

class WarningObserver final : public EngineObserver {
 public:
  void OnLog(LogLevel level, std::string_view text) override {
    if (level >= LogLevel::kWarning && first_.empty()) first_ = text;
  }
  const std::string& first() const { return first_; }

 private:
  std::string first_;
};

// The guest's disk, and what is on it.
struct GuestDisk {
  Attachment& attachment;
  const InteropGuestOptions& options;
  std::vector<uint8_t>& model;
  uint64_t& operations;
};

absl::Status CoVerify(const GuestDisk& disk, ByteRange range) MILLRACE_MAY_SUSPEND {
  std::vector<uint8_t> now(range.bytes);
  MILLRACE_RETURN_IF_ERROR(disk.attachment.CoRead(range.offset, IoVector(absl::MakeSpan(now))));
  const auto wanted = disk.model.begin() + static_cast<ptrdiff_t>(range.offset);
  const auto [at, other] = std::mismatch(now.begin(), now.end(), wanted);
  if (at == now.end()) return absl::OkStatus();
  return absl::InternalError(StrCat("the guest reads byte ",
                                    range.offset + static_cast<uint64_t>(at - now.begin()), " as ",
                                    int{*at}, " instead of ", int{*other}));
}

// Cuts `range` into `count` parts that touch each other; some may be empty.
std::vector<ByteRange> Cut(ByteRange range, uint64_t count, uint64_t unit, RandomStream& random) {
  std::vector<uint64_t> cuts = {range.offset, range.end()};
  while (cuts.size() <= count) {
    const uint64_t cut = AlignDown(range.offset + random.Below(range.bytes + 1), unit);
    cuts.push_back(std::max(cut, range.offset));
  }
  std::sort(cuts.begin(), cuts.end());
  std::vector<ByteRange> parts;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    parts.push_back(ByteRange(cuts[i], cuts[i + 1] - cuts[i]));
  }
  return parts;
}

class Worker {
 public:
  Worker(const GuestDisk& disk, ByteRange stripe, uint64_t unit, bool is_last)
      : random_(disk.options.seed, StrCat("worker at ", stripe.offset)),
        disk_(disk),
        stripe_(stripe),
        unit_(unit),
        is_last_(is_last) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    for (int step = 0; step < kSteps; ++step) {
      TaskScope scope("step");
      for (const ByteRange part : Cut(stripe_, 1 + random_.Below(kAtOnceMax), unit_, random_)) {
        if (part.empty()) continue;
        scope.Spawn("request", [this, part]() MILLRACE_MAY_SUSPEND { return CoOperate(part); });
      }
      MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
      if (is_last_ && disk_.options.may_grow && random_.OneIn(8)) {
        MILLRACE_RETURN_IF_ERROR(CoGrow());
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status CoOperate(ByteRange part) MILLRACE_MAY_SUSPEND {
    ++disk_.operations;
    const ByteRange range = RangeIn(part);
    switch (random_.Below(9)) {
      case 0:
        return CoZero(range);
      case 1:
        return CoDiscard(range);
      case 2:
        return disk_.attachment.CoFlush();
      case 3:
        return CoPopulate(range);
      case 4:
        return CoVerify(disk_, range);
      default:
        return CoWrite(range);
    }
  }
  ByteRange RangeIn(ByteRange part) {
    if (random_.OneIn(4)) {
      const uint64_t cluster = disk_.options.cluster_bytes;
      const uint64_t begin = AlignDown(part.offset + random_.Below(part.bytes), cluster);
      return ByteRange(begin, cluster * (1 + random_.Below(3))).Intersect(part);
    }
    const uint64_t offset = part.offset + random_.Below(part.bytes) / unit_ * unit_;
    const uint64_t bytes = 1 + random_.Below(random_.OneIn(4) ? 256 * 1024 : 8192);
    return ByteRange(offset, std::min(AlignUp(bytes, unit_), part.end() - offset));
  }
  auto ModelAt(uint64_t offset) { return disk_.model.begin() + static_cast<ptrdiff_t>(offset); }

  absl::Status CoWrite(ByteRange range) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> data = Pattern(range.bytes, random_.Next());
    MILLRACE_RETURN_IF_ERROR(
        disk_.attachment.CoWrite(range.offset, IoVector(absl::MakeSpan(data))));
    std::copy(data.begin(), data.end(), ModelAt(range.offset));
    return absl::OkStatus();
  }
  absl::Status CoZero(ByteRange range) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(
        disk_.attachment.CoWriteZeroes(range, {.may_unmap = random_.OneIn(2)}));
    std::fill_n(ModelAt(range.offset), range.bytes, uint8_t{0});
    return absl::OkStatus();
  }
  // What is discarded reads as before or as zeroes, and goes on to.
  absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(disk_.attachment.CoDiscard(range));
    std::vector<uint8_t> now(range.bytes);
    MILLRACE_RETURN_IF_ERROR(disk_.attachment.CoRead(range.offset, IoVector(absl::MakeSpan(now))));
    for (uint64_t i = 0; i < range.bytes; ++i) {
      uint8_t& old = disk_.model[range.offset + i];
      if (now[i] != 0 && now[i] != old) {
        return absl::InternalError(StrCat("discarded byte ", range.offset + i, " reads as new"));
      }
      old = now[i];
    }
    return absl::OkStatus();
  }
  // As copy-on-read does.
  absl::Status CoPopulate(ByteRange range) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> bytes(range.bytes);
    const IoVector buffer(absl::MakeSpan(bytes));
    MILLRACE_RETURN_IF_ERROR(disk_.attachment.CoRead(range.offset, buffer));
    return disk_.attachment.CoWrite(range.offset, buffer, {.only_if_unallocated = true});
  }
  absl::Status CoGrow() MILLRACE_MAY_SUSPEND {
    const uint64_t old = disk_.model.size();
    const uint64_t bytes = AlignUp(old + 1 + random_.Below(old / 2 + 4096), 512);
    MILLRACE_RETURN_IF_ERROR(disk_.attachment.CoResize(bytes));
    disk_.model.resize(bytes);
    stripe_.bytes = bytes - stripe_.offset;
    return absl::OkStatus();
  }

  RandomStream random_;
  GuestDisk disk_;
  ByteRange stripe_;
  const uint64_t unit_;
  const bool is_last_;
};

absl::Status CoWork(const GuestDisk& disk) MILLRACE_MAY_SUSPEND {
  RandomStream random(disk.options.seed, "stripes");
  const ByteRange whole(0, disk.model.size());
  MILLRACE_RETURN_IF_ERROR(CoVerify(disk, whole));
  const uint64_t unit = random.OneIn(2) ? 1 : 512;
  const std::vector<ByteRange> stripes = Cut(whole, kWorkers, unit, random);
  TaskScope scope("workers");
  for (size_t i = 0; i < kWorkers; ++i) {
    if (stripes[i].empty()) continue;
    scope.Spawn("worker", [&, i]() MILLRACE_MAY_SUSPEND {
      Worker worker(disk, stripes[i], unit, i + 1 == kWorkers);
      return worker.CoRun();
    });
  }
  MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
  return CoVerify(disk, ByteRange(0, disk.model.size()));
}

absl::Status CoAttachAndWork(Graph& graph, NodeId top, const InteropGuestOptions& options,
                             std::vector<uint8_t>& model, uint64_t& operations)
    MILLRACE_MAY_SUSPEND {
  AttachmentOptions device;
  device.holder = MakeHolder("guest", "block device");
  device.permissions = GuestDevicePermissions();
  device.permissions.used = device.permissions.used | kWriteUnchanged | kResize;
  MILLRACE_ASSIGN_OR_RETURN(Attachment guest, Attachment::Attach(graph, top, device));
  absl::Status status = CoWork({guest, options, model, operations});
  guest.CoDetach();
  return status;
}

absl::Status CoOpenAndWork(Engine& engine, const DriverRegistry& registry,
                           const InteropGuestOptions& options, std::vector<uint8_t>& model,
                           uint64_t& operations) MILLRACE_MAY_SUSPEND {
  RandomStream random(options.seed, "open");
  Graph graph(engine);
  OpenImageOptions open;
  open.path = options.path;
  open.format = "qcow2";
  open.direct = random.OneIn(4);
  absl::StatusOr<OpenedImage> image = CoOpenImage(graph, registry, open);
  absl::Status status = image.status();
  if (status.ok()) {
    status = CoAttachAndWork(graph, image->top(), options, model, operations);
    for (Attachment& hold : image->holds) hold.CoDetach();
  }
  graph.CoClose();
  return status;
}

}  // namespace

absl::Status RunInteropGuest(SimulatedDisk& disk, const InteropGuestOptions& options,
                             std::vector<uint8_t>& model, uint64_t& operations) {
  DriverRegistry registry;
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry));
  RandomDecider::Faults deviations;
  deviations.buggify_one_in = options.seed % 4 == 0 ? 8 : 0;
  RandomDecider decider(options.seed, deviations, RandomDecider::Recording::kOff);
  WarningObserver observer;
  const std::unique_ptr<Engine> engine =
      SimulatedEngine({.observer = &observer, .decider = &decider, .disk = &disk},
                      /*steps_per_look=*/64);
  MILLRACE_RETURN_IF_ERROR(engine->Run([&]() MILLRACE_MAY_SUSPEND {
    return CoOpenAndWork(*engine, registry, options, model, operations);
  }));
  if (!observer.first().empty()) return absl::InternalError(observer.first());
  return absl::OkStatus();
}

}  // namespace millrace
