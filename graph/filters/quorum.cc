#include "millrace/graph/filters/quorum.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/buffer_pool.h"
#include "millrace/engine/io/io_error.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/range_lock.h"

namespace millrace {
namespace {

using QuorumOperation = QuorumReport::Operation;

class QuorumDriver final : public ProtocolDriver {
 public:
  explicit QuorumDriver(QuorumOptions options) : options_(std::move(options)) {}

  std::string_view driver_name() const override { return "quorum"; }
  std::optional<Role> RoleOfChild(std::string_view name) const override {
    constexpr std::string_view kPrefix = "children.";
    if (name.substr(0, kPrefix.size()) != kPrefix) return std::nullopt;
    return Role::kData;
  }
  bool data_children_show_the_same() const override { return true; }
  uint64_t bytes() const override {
    return context_ == nullptr ? 0 : context_->ChildBytes(Child(0));
  }
  // Children that others write would not be the same any more; what is "unchanged" is no matter.
  Permissions DerivePermissions(const PermissionContext& context) const override {
    Permissions derived{context.parents.used,
                        context.parents.shared & (kConsistentRead | kWriteUnchanged)};
    if (options_.rewrite_corrupted) derived.used = derived.used | kWrite;
    return derived;
  }

  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND;
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND;
  absl::Status CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) override
      MILLRACE_MAY_SUSPEND;
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND;
  absl::Status CoDiscard(ByteRange) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND;
  absl::Status CoResize(uint64_t) override MILLRACE_MAY_SUSPEND {
    return absl::UnimplementedError(
        StrCat("cannot resize '", context_->node_name(), "': a quorum keeps its children's size"));
  }
  absl::StatusOr<Extent> CoMap(ByteRange range) override MILLRACE_MAY_SUSPEND;

 private:
  // One child's part in an operation.
  struct Vote {
    absl::Status status;
    IoBuffer data;
    size_t votes = 0;  // how many children read the same
  };

  static ChildKey Child(size_t index) { return ChildKey(Role::kData, index); }
  // Children come and go, but not while a request is under way: edges change only when drained.
  size_t CountChildren() const {
    size_t children = 0;
    while (context_->HasChild(Child(children))) ++children;
    return children;
  }
  // Runs `body` for every child, all at once; the index tells which.
  void CoForEachChild(absl::FunctionRef<void(size_t)> body) MILLRACE_MAY_SUSPEND;
  // Does the same to all children: succeeds if enough of them do.
  absl::Status CoAskAll(QuorumOperation operation, ByteRange range,
                        absl::FunctionRef<absl::Status(ChildKey)> body) MILLRACE_MAY_SUSPEND;
  absl::Status CoReadByVote(uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND;
  absl::Status CoReadFirst(uint64_t offset, const IoVector& target) MILLRACE_MAY_SUSPEND;
  // Reports what lost against `winner`, and makes it right if that is wanted.
  void CoDealWithLosers(const std::vector<Vote>& votes, const Vote& winner, ByteRange range)
      MILLRACE_MAY_SUSPEND;
  void Report(QuorumOperation operation, std::string child, ByteRange range, absl::Status error);
  absl::Status FailVote(QuorumOperation operation, ByteRange range, const absl::Status& error);

  const QuorumOptions options_;
  DriverContext* context_ = nullptr;
  // Writes wait for overlapping reads and writes. A read that saw a write on some children only
  // would take them for bad, and making them "right" would undo the write.
  RangeLock ranges_{"quorum"};
};

absl::Status QuorumDriver::CoOpen(DriverContext& context) {
  context_ = &context;
  const size_t children = CountChildren();
  if (options_.vote_threshold < 1 || options_.vote_threshold > children) {
    return absl::InvalidArgumentError(
        StrCat("cannot open quorum '", context.node_name(), "' with a vote threshold of ",
               options_.vote_threshold, " and ", children,
               " children; choose one between 1 and the number of children"));
  }
  for (size_t i = 1; i < children; ++i) {
    if (context.ChildBytes(Child(i)) == bytes()) continue;
    return absl::InvalidArgumentError(
        StrCat("cannot open quorum '", context.node_name(), "': child '",
               context.ChildName(Child(i)), "' has ", context.ChildBytes(Child(i)),
               " bytes and the first one ", bytes(), "; give it children of one size"));
  }
  return absl::OkStatus();
}

// ---- All children at once ----------------------------------------------------------------------

void QuorumDriver::CoForEachChild(absl::FunctionRef<void(size_t)> body) {
  TaskScope scope("quorum");
  const size_t children = CountChildren();
  for (size_t i = 0; i < children; ++i) {
    // Without memory for one more coroutine, in this one.
    if (!scope.Spawn("quorum/child", [i, body]() MILLRACE_MAY_SUSPEND { body(i); })) body(i);
  }
  scope.CoJoin().IgnoreError();  // each child's outcome is its own
}

absl::Status QuorumDriver::CoAskAll(QuorumOperation operation, ByteRange range,
                                    absl::FunctionRef<absl::Status(ChildKey)> body) {
  RangeLock::Hold hold;
  ranges_.CoAcquire(
      range, operation == QuorumOperation::kWrite ? LockMode::kExclusive : LockMode::kShared, hold);
  std::vector<absl::Status> outcomes(CountChildren());
  CoForEachChild([&](size_t i) MILLRACE_MAY_SUSPEND { outcomes[i] = body(Child(i)); });
  size_t successes = 0;
  absl::Status first_error;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i].ok()) {
      ++successes;
      continue;
    }
    Report(operation, context_->ChildName(Child(i)), range, outcomes[i]);
    if (first_error.ok()) first_error = outcomes[i];
  }
  if (successes >= options_.vote_threshold) return absl::OkStatus();
  return FailVote(operation, range, first_error);
}

absl::Status QuorumDriver::CoWrite(uint64_t offset, const IoVector& source, WriteFlags flags) {
  return CoAskAll(QuorumOperation::kWrite, ByteRange(offset, source.bytes()),
                  [&](ChildKey child) MILLRACE_MAY_SUSPEND {
                    return context_->CoWriteChild(child, offset, source, flags);
                  });
}

absl::Status QuorumDriver::CoWriteZeroes(ByteRange range, ZeroFlags flags) {
  return CoAskAll(QuorumOperation::kWrite, range, [&](ChildKey child) MILLRACE_MAY_SUSPEND {
    return context_->CoWriteZeroesChild(child, range, flags);
  });
}

absl::Status QuorumDriver::CoFlush() {
  return CoAskAll(QuorumOperation::kFlush, ByteRange(0, bytes()),
                  [&](ChildKey child)
                      MILLRACE_MAY_SUSPEND { return context_->CoFlushChild(child); });
}

// Zeroes only where every child says so. A child that says nothing shows its own backing.
absl::StatusOr<Extent> QuorumDriver::CoMap(ByteRange range) {
  Extent extent;
  extent.bytes = range.bytes;
  extent.kind = ExtentKind::kZero;
  const size_t children = CountChildren();
  for (size_t i = 0; i < children; ++i) {
    MILLRACE_ASSIGN_OR_RETURN(
        const Extent each, context_->CoMapChild(Child(i), ByteRange(range.offset, extent.bytes)));
    extent.bytes = std::min(extent.bytes, each.bytes);
    if (each.kind != ExtentKind::kZero) extent.kind = ExtentKind::kData;
  }
  extent.host = HostOffset(range.offset);
  return extent;
}

// ---- Reading -----------------------------------------------------------------------------------

absl::Status QuorumDriver::CoRead(uint64_t offset, const IoVector& target) {
  RangeLock::Hold hold;
  ranges_.CoAcquire(ByteRange(offset, target.bytes()), LockMode::kShared, hold);
  return options_.read_pattern == QuorumReadPattern::kFifo ? CoReadFirst(offset, target)
                                                           : CoReadByVote(offset, target);
}

absl::Status QuorumDriver::CoReadFirst(uint64_t offset, const IoVector& target) {
  const ByteRange range(offset, target.bytes());
  absl::Status status;
  const size_t children = CountChildren();
  for (size_t i = 0; i < children; ++i) {
    status = context_->CoReadChild(Child(i), offset, target);
    if (status.ok()) return status;
    Report(QuorumOperation::kRead, context_->ChildName(Child(i)), range, status);
  }
  return status;
}

absl::Status QuorumDriver::CoReadByVote(uint64_t offset, const IoVector& target) {
  const ByteRange range(offset, target.bytes());
  std::vector<Vote> votes(CountChildren());
  for (Vote& vote : votes) {
    MILLRACE_ASSIGN_OR_RETURN(vote.data,
                              context_->engine().buffers().TryTake(range.bytes, "quorum"));
  }
  CoForEachChild([&](size_t i) MILLRACE_MAY_SUSPEND {
    votes[i].status =
        context_->CoReadChild(Child(i), offset, IoVector(votes[i].data.data(), range.bytes));
  });
  Vote* winner = nullptr;
  absl::Status first_error;
  for (size_t i = 0; i < votes.size(); ++i) {
    if (!votes[i].status.ok()) {
      Report(QuorumOperation::kRead, context_->ChildName(Child(i)), range, votes[i].status);
      if (first_error.ok()) first_error = votes[i].status;
      continue;
    }
    // Votes count with the first child that read the same.
    Vote* same = &votes[i];
    for (size_t j = 0; j < i && same == &votes[i]; ++j) {
      const bool is_same =
          votes[j].votes > 0 && std::equal(votes[i].data.data(), votes[i].data.data() + range.bytes,
                                           votes[j].data.data());
      if (is_same) same = &votes[j];
    }
    ++same->votes;
    if (winner == nullptr || same->votes > winner->votes) winner = same;
  }
  if (winner == nullptr || winner->votes < options_.vote_threshold) {
    return FailVote(QuorumOperation::kRead, range, first_error);
  }
  target.CopyFrom(0, winner->data.data(), range.bytes);
  CoDealWithLosers(votes, *winner, range);
  return absl::OkStatus();
}

void QuorumDriver::CoDealWithLosers(const std::vector<Vote>& votes, const Vote& winner,
                                    ByteRange range) {
  for (size_t i = 0; i < votes.size(); ++i) {
    const bool is_loser =
        votes[i].status.ok() &&
        !std::equal(votes[i].data.data(), votes[i].data.data() + range.bytes, winner.data.data());
    if (!is_loser) continue;
    Report(QuorumOperation::kRead, context_->ChildName(Child(i)), range, absl::OkStatus());
    if (!options_.rewrite_corrupted) continue;
    absl::Status status = context_->CoWriteChild(
        Child(i), range.offset, IoVector::OfConst(winner.data.data(), range.bytes), {});
    if (!status.ok()) {
      Report(QuorumOperation::kWrite, context_->ChildName(Child(i)), range, std::move(status));
    }
  }
}

// ---- Reports -----------------------------------------------------------------------------------

void QuorumDriver::Report(QuorumOperation operation, std::string child, ByteRange range,
                          absl::Status error) {
  if (!options_.on_report) return;
  options_.on_report({context_->node_name(), std::move(child), operation, range, std::move(error)});
}

absl::Status QuorumDriver::FailVote(QuorumOperation operation, ByteRange range,
                                    const absl::Status& error) {
  absl::Status status =
      error.ok() ? ErrnoStatus(EIO, StrCat("read '", context_->node_name(), "' at ", range.offset,
                                           ": too few of its children agree"))
                 : error;
  Report(operation, "", range, status);
  return status;
}

}  // namespace

std::unique_ptr<ProtocolDriver> MakeQuorumDriver(QuorumOptions options) {
  return std::make_unique<QuorumDriver>(std::move(options));
}

}  // namespace millrace
