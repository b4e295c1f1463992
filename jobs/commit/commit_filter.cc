#include "millrace/jobs/commit/commit_filter.h"
#include "millrace/engine/base/mutant.h"

namespace millrace {
namespace {

class CommitFilter final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "commit_top"; }
  bool is_transparent_for_reads() const override { return true; }
  bool is_transparent_for_writes() const override { return true; }
  bool is_unleasable() const override {
    MILLRACE_MUTANT(kR01a) return false;
    return true;
  }
  bool passes_no_writes() const override { return true; }
  std::string_view filtered_edge_name() const override { return "backing"; }

  // What is below changes hands while the job works, so the filter claims nothing on it.
  Permissions DerivePermissions(const PermissionContext&) const override {
    return {kNoPermissions, kAllPermissions};
  }
  Permissions DeriveReserved(const PermissionContext& context) const override {
    return DeriveForFilter(context);
  }
};

}  // namespace

std::unique_ptr<FilterDriver> MakeCommitFilter() { return std::make_unique<CommitFilter>(); }

}  // namespace millrace
