// A job that fails makes read-only again what it had made writable; where that fails too, the log
// says so, as the job's own error is what its status tells.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/jobs/block_job.h"
#include "tests/support/simulation.h"
#include "tests/support/zero_file.h"

namespace millrace::restore_read_only_test {
namespace {

class LineLog final : public EngineObserver {
 public:
  void OnLog(LogLevel, std::string_view line) override { lines.emplace_back(line); }
  std::vector<std::string> lines;
};

// A file that becomes writable, and may not become read-only again.
class StubbornFile final : public ZeroFile {
 public:
  explicit StubbornFile(bool is_stubborn) : ZeroFile("stubborn", 4096), is_stubborn_(is_stubborn) {}
  absl::Status CoPrepareReopen(bool writable) override MILLRACE_MAY_SUSPEND {
    if (writable || !is_stubborn_) return absl::OkStatus();
    return absl::PermissionDeniedError("reopen 'stubborn.img': the host refuses");
  }

 private:
  const bool is_stubborn_;
};

absl::StatusOr<Attachment> AddFile(Graph& graph, bool is_stubborn) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  const NodeId node = change.AddNode(std::make_unique<StubbornFile>(is_stubborn),
                                     {.name = "base", .is_read_only = true});
  Attachment keep = change.Attach(node, {.holder = MakeHolder("me", "monitor")});
  MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  return keep;
}

std::vector<std::string> ToldOfRestoring(bool is_stubborn) {
  LineLog log;
  const auto engine = SimulatedEngine({.observer = &log});
  Graph graph(*engine);
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep, AddFile(graph, is_stubborn));
    const NodeId node = keep.node();
    const HolderRef job = MakeHolder("commit0", "commit job");
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, node));
    MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(graph, node, false, job));
    CoTryRestoreReadOnly(graph, node, job);
    keep.CoDetach();
    CoTryRestoreReadOnly(graph, node, job);  // it is gone: nobody's concern
    graph.CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return log.lines;
}

TEST(RestoreReadOnly, WhatStaysWritableIsInTheLog) {
  EXPECT_THAT(ToldOfRestoring(true),
              testing::ElementsAre(
                  testing::AllOf(testing::HasSubstr("stays writable after commit job 'commit0'"),
                                 testing::HasSubstr("reopen 'stubborn.img': the host refuses"))));
}

TEST(RestoreReadOnly, WhatIsReadOnlyAgainIsNot) {
  EXPECT_THAT(ToldOfRestoring(false), testing::IsEmpty());
}

}  // namespace
}  // namespace millrace::restore_read_only_test
