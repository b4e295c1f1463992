// SimpleDriverContext: a node for a driver under test, without a graph. Its children are protocol
// drivers that the test owns.
#ifndef MILLRACE_TESTS_SUPPORT_SIMPLE_DRIVER_CONTEXT_H_
#define MILLRACE_TESTS_SUPPORT_SIMPLE_DRIVER_CONTEXT_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/engine.h"
#include "millrace/graph/driver.h"

namespace millrace {

class SimpleDriverContext final : public DriverContext {
 public:
  SimpleDriverContext(Engine& engine, std::string name, bool is_read_only = false)
      : engine_(engine), name_(std::move(name)), is_read_only_(is_read_only) {}

  void SetChild(ChildKey role, ProtocolDriver& driver) { children_[role] = &driver; }

  Engine& engine() const override { return engine_; }
  const std::string& node_name() const override { return name_; }
  bool is_read_only() const override { return is_read_only_; }
  bool HasChild(ChildKey role) const override { return children_.count(role) > 0; }
  std::string ChildName(ChildKey role) const override {
    return HasChild(role) ? "child-" + std::to_string(role.index) : std::string();
  }
  uint64_t ChildBytes(ChildKey role) const override { return Child(role).bytes(); }

  absl::Status CoReadChild(ChildKey role, uint64_t offset, const IoVector& target) override
      MILLRACE_MAY_SUSPEND {
    return Child(role).CoRead(offset, target);
  }
  absl::Status CoWriteChild(ChildKey role, uint64_t offset, const IoVector& source,
                            WriteFlags flags) override MILLRACE_MAY_SUSPEND {
    return Child(role).CoWrite(offset, source, flags);
  }
  absl::Status CoWriteZeroesChild(ChildKey role, ByteRange range, ZeroFlags flags) override
      MILLRACE_MAY_SUSPEND {
    return Child(role).CoWriteZeroes(range, flags);
  }
  absl::Status CoDiscardChild(ChildKey role, ByteRange range) override MILLRACE_MAY_SUSPEND {
    return Child(role).CoDiscard(range);
  }
  absl::Status CoFlushChild(ChildKey role) override MILLRACE_MAY_SUSPEND {
    return Child(role).CoFlush();
  }
  absl::Status CoResizeChild(ChildKey role, uint64_t bytes) override MILLRACE_MAY_SUSPEND {
    return Child(role).CoResize(bytes);
  }
  absl::StatusOr<Extent> CoMapChild(ChildKey role, ByteRange range) override MILLRACE_MAY_SUSPEND {
    return Child(role).CoMap(range);
  }
  void CoEvent(std::string_view) override MILLRACE_MAY_SUSPEND {}
  uint64_t NewestRequest() const override { return 0; }
  uint64_t OldestRequest() const override { return UINT64_MAX; }
  void LogWarning(std::string_view line) override { warnings.emplace_back(line); }

  std::vector<std::string> warnings;

 private:
  ProtocolDriver& Child(ChildKey role) const { return *children_.at(role); }

  Engine& engine_;
  const std::string name_;
  const bool is_read_only_;
  std::map<ChildKey, ProtocolDriver*> children_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_SIMPLE_DRIVER_CONTEXT_H_
