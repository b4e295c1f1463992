// CancellingFile: a file on a CrashDisk whose N-th operation cancels the scope of whoever works on
// it, as if somebody had interrupted the work just then. The operation itself succeeds.
#ifndef MILLRACE_TESTS_SUPPORT_CANCELLING_FILE_H_
#define MILLRACE_TESTS_SUPPORT_CANCELLING_FILE_H_

#include <cstdint>
#include <string_view>
#include <utility>

#include "millrace/engine/scope/task_scope.h"
#include "millrace/graph/drivers/qcow2/image_file.h"
#include "tests/support/fake_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace {

class CancellingFile final : public ImageFile {
 public:
  // From 0.
  CancellingFile(CrashDisk& disk, uint64_t cancels_at) : file_(disk), cancels_at_(cancels_at) {}

  std::string_view name() const override { return file_.name(); }
  uint64_t bytes() const override { return file_.bytes(); }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    Count();
    return file_.CoRead(offset, target);
  }
  absl::Status CoWrite(uint64_t offset, const IoVector& source) override MILLRACE_MAY_SUSPEND {
    Count();
    return file_.CoWrite(offset, source);
  }
  absl::Status CoWriteZeroes(ByteRange range) override MILLRACE_MAY_SUSPEND {
    Count();
    return file_.CoWriteZeroes(range);
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    Count();
    return file_.CoDiscard(range);
  }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND {
    Count();
    return file_.CoFlush();
  }
  absl::Status CoResize(uint64_t bytes) override MILLRACE_MAY_SUSPEND {
    Count();
    return file_.CoResize(bytes);
  }

  uint64_t operations() const { return operations_; }
  bool has_cancelled() const { return operations_ > cancels_at_; }

  // Runs `body` in the scope that is cancelled.
  template <typename Body>
  absl::Status Run(Body body) {
    auto engine = SimulatedEngine();
    return engine->Run([&]() MILLRACE_MAY_SUSPEND {
      TaskScope scope("work");
      scope_ = &scope;
      scope.Spawn("work", std::move(body));
      absl::Status status = scope.CoJoin();
      scope_ = nullptr;
      return status;
    });
  }

 private:
  void Count() {
    if (operations_++ == cancels_at_) scope_->Cancel();
  }

  DiskFile file_;
  const uint64_t cancels_at_;
  uint64_t operations_ = 0;
  TaskScope* scope_ = nullptr;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_CANCELLING_FILE_H_
