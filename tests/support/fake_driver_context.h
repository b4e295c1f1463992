// A node without a graph: what a format driver sees of its node and children, over a CrashDisk, and
// a small reader and writer that uses the driver as the graph's generic path does.
//
// For tests of format drivers by themselves: units, properties, crashes, fault loops, fuzzing.
#ifndef MILLRACE_TESTS_SUPPORT_FAKE_DRIVER_CONTEXT_H_
#define MILLRACE_TESTS_SUPPORT_FAKE_DRIVER_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/driver.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "tests/support/crash_disk.h"

namespace millrace {

// The primary child is the disk; the backing child, if wanted, exists in name only (FormatNode
// holds its bytes).
class FakeDriverContext final : public DriverContext {
 public:
  // With `simulate_io` each operation waits for a simulated request, so that the engine's decider
  // orders them; else it is done at once.
  FakeDriverContext(Engine& engine, CrashDisk& disk, bool simulate_io = false)
      : engine_(engine), disk_(disk), simulate_io_(simulate_io) {}

  Engine& engine() const override { return engine_; }
  const std::string& node_name() const override { return name_; }
  bool is_read_only() const override { return is_read_only_; }
  void set_read_only(bool read_only) { is_read_only_ = read_only; }
  void set_has_backing(bool has_backing) { has_backing_ = has_backing; }

  bool HasChild(ChildKey role) const override {
    return role == Role::kPrimary || (role == Role::kBacking && has_backing_);
  }
  uint64_t ChildBytes(ChildKey) const override { return disk_.live().size(); }
  absl::Status CoReadChild(ChildKey role, uint64_t offset, const IoVector& target) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteChild(ChildKey role, uint64_t offset, const IoVector& source,
                            WriteFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroesChild(ChildKey role, ByteRange range, ZeroFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscardChild(ChildKey role, ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlushChild(ChildKey role) override MILLRACE_MAY_SUSPEND;
  absl::Status CoResizeChild(ChildKey role, uint64_t bytes) override MILLRACE_MAY_SUSPEND;
  absl::StatusOr<Extent> CoMapChild(ChildKey role, ByteRange range) override MILLRACE_MAY_SUSPEND;
  void CoEvent(std::string_view event) override MILLRACE_MAY_SUSPEND {
    events_.emplace_back(event);
  }

  uint64_t NewestRequest() const override { return newest_request_; }
  uint64_t OldestRequest() const override {
    return in_flight_.empty() ? UINT64_MAX : *in_flight_.begin();
  }
  uint64_t BeginRequest() {
    in_flight_.insert(++newest_request_);
    return newest_request_;
  }
  void EndRequest(uint64_t request) { in_flight_.erase(request); }

  void LogWarning(std::string_view line) override { warnings_.emplace_back(line); }
  const std::vector<std::string>& warnings() const { return warnings_; }
  // Every event raised so far, in order.
  std::vector<std::string>& events() { return events_; }
  CrashDisk& disk() { return disk_; }

 private:
  // Waits until the simulation lets the operation happen; the status it is to end with.
  absl::Status CoOperation() MILLRACE_MAY_SUSPEND;
  absl::Status CoOperation(absl::FunctionRef<void()> effect) MILLRACE_MAY_SUSPEND;

  Engine& engine_;
  CrashDisk& disk_;
  const bool simulate_io_;
  const std::string name_ = "img";
  bool is_read_only_ = false;
  bool has_backing_ = false;
  uint64_t newest_request_ = 0;
  std::set<uint64_t> in_flight_;
  std::vector<std::string> warnings_;
  std::vector<std::string> events_;
};

// An open format driver, read and written as by the graph. `backing` shows through where the driver
// has nothing; zeroes behind its end. The context must outlive it; it must be closed.
class FormatNode {
 public:
  FormatNode(FakeDriverContext& context, std::unique_ptr<FormatDriver> driver,
             std::vector<uint8_t> backing = {})
      : context_(context), driver_(std::move(driver)), backing_(std::move(backing)) {
    context_.set_has_backing(!backing_.empty());
  }

  FormatDriver& driver() { return *driver_; }
  absl::Status CoOpen() MILLRACE_MAY_SUSPEND { return driver_->CoOpen(context_); }
  void CoClose() MILLRACE_MAY_SUSPEND { driver_->CoClose(); }

  absl::Status CoRead(uint64_t offset, absl::Span<uint8_t> target) MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, absl::Span<const uint8_t> source, WriteFlags flags = {})
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags = {}) MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t bytes) MILLRACE_MAY_SUSPEND;
  // Copies what shows through from the backing into unallocated clusters, as copy-on-read does.
  absl::Status CoPopulate(ByteRange range) MILLRACE_MAY_SUSPEND;

 private:
  absl::Status CoReadParts(uint64_t offset, absl::Span<uint8_t> target) MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteParts(uint64_t offset, absl::Span<const uint8_t> source, WriteFlags flags)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoFill(const Allocation& allocation, uint64_t offset) MILLRACE_MAY_SUSPEND;
  absl::Status CoZeroParts(ByteRange range, ZeroFlags flags) MILLRACE_MAY_SUSPEND;
  void ReadBacking(uint64_t offset, absl::Span<uint8_t> target) const;

  FakeDriverContext& context_;
  std::unique_ptr<FormatDriver> driver_;
  const std::vector<uint8_t> backing_;
};

// An ImageFile straight on a disk.
class DiskFile final : public ImageFile {
 public:
  explicit DiskFile(CrashDisk& disk) : disk_(disk) {}
  std::string_view name() const override { return "img"; }
  uint64_t bytes() const override { return disk_.live().size(); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND;
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND;

 private:
  absl::Status Operation(absl::FunctionRef<void()> effect);

  CrashDisk& disk_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_FAKE_DRIVER_CONTEXT_H_
