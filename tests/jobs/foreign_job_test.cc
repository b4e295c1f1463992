// The library's jobs beside one of an embedder's own, which may edit as it likes, put an edit off
// that others are ready for, and share a transaction with them.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/jobs/mirror_support.h"

namespace millrace::foreign_job_test {
namespace {

using Cluster = MemoryOverlayImage::Cluster;

// A job whose every part is the test's.
class ForeignJob final : public BlockJob {
 public:
  struct Script {
    NodeId drained;
    std::function<absl::Status()> prepare = nullptr;   // each time; may suspend
    std::function<bool()> is_caught_up = nullptr;      // each time
    std::function<bool()> puts_off_edit = nullptr;     // each time
    std::function<void(GraphTransaction&)> edit = {};  // its part of the transaction
  };

  ForeignJob(Graph& graph, Script script)
      : BlockJob(graph, BlockJobProofs::For(graph, "foreign", "foreign")),
        script_(std::move(script)) {}

  std::string_view type() const override { return "foreign"; }
  absl::Status CoRun(JobContext&) override MILLRACE_MAY_SUSPEND { return absl::OkStatus(); }
  absl::Status CoPrepare() override MILLRACE_MAY_SUSPEND {
    return script_.prepare ? script_.prepare() : absl::OkStatus();
  }
  std::vector<NodeId> NodesToDrain(const GraphReader&) const override { return {script_.drained}; }
  bool IsCaughtUp(const GraphReader&) override {
    return !script_.is_caught_up || script_.is_caught_up();
  }
  bool PutsOffTheEdit() override { return script_.puts_off_edit && script_.puts_off_edit(); }
  void StageGraphEdit(GraphTransaction& change) override {
    if (script_.edit) script_.edit(change);
    StageDetachAll(change);
  }

 private:
  std::vector<Attachment*> IoAttachments() override { return {}; }

  const Script script_;
};

absl::Status CoStartForeign(MirrorWorld& world, ForeignJob::Script script,
                            std::shared_ptr<JobTransaction> transaction) MILLRACE_MAY_SUSPEND {
  JobSpec spec;
  spec.id = "foreign";
  spec.transaction = std::move(transaction);
  return CoCreateAndStart(world.jobs(), std::move(spec),
                          std::make_unique<ForeignJob>(world.graph(), std::move(script)))
      .status();
}

// ---- An edit of its own --------------------------------------------------------------------------

// An image with one sector of its own.
absl::StatusOr<NodeId> CoAddLayer(MirrorWorld& world, std::string name, uint64_t sector,
                                  const std::vector<std::pair<Role, NodeId>>& children)
    MILLRACE_MAY_SUSPEND {
  MemoryOverlayOptions driver;
  driver.image = std::make_shared<MemoryOverlayImage>(kBytes, 512);
  driver.filename = StrCat("img-", name);
  world.disk.Put(*driver.image, sector);
  return CoAdd(world, std::move(name), MakeMemoryOverlayDriver(std::move(driver)), children);
}

// base <- mid <- top, of which mid is taken out: what it had is nowhere.
TEST(ForeignJob, AMirrorCopiesAnewWhenAJobHasTakenAnImageOutThatItHasNotCopied) {
  RunOnce([](MirrorWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(const NodeId base, CoAddLayer(world, "base", 1, {}));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId mid,
                              CoAddLayer(world, "mid", 2, {{Role::kBacking, base}}));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId top,
                              CoAddLayer(world, "top", 3, {{Role::kBacking, mid}}));
    world.target = std::make_shared<MemoryOverlayImage>(kBytes, 512);
    MirrorOptions options;
    options.job.spec.id = "m";
    options.source = top;
    options.granularity = 512;
    MILLRACE_ASSIGN_OR_RETURN(options.target, world.CoAddImage("t", world.target));
    MILLRACE_RETURN_IF_ERROR(CoStartMirror(world.graph(), world.jobs(), options).status());
    EXPECT_TRUE(world.CoWaitUntilReady("m"));
    EXPECT_EQ(world.target->map[2], Cluster::kData);
    ForeignJob::Script script;
    script.drained = top;
    script.edit = [top, base](GraphTransaction& change) {
      change.SetBacking(top, base, std::nullopt);
    };
    MILLRACE_RETURN_IF_ERROR(CoStartForeign(world, script, nullptr));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("foreign"));
    MILLRACE_RETURN_IF_ERROR(world.jobs().Cancel("m", false));
    MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("m"));
    EXPECT_EQ(world.target->map[1], Cluster::kData);
    EXPECT_NE(world.target->map[2], Cluster::kData);
    EXPECT_EQ(world.target->map[3], Cluster::kData);
    return absl::OkStatus();
  });
}

// ---- An edit that it puts off --------------------------------------------------------------------

// The source has been emptied when the section ends without an edit; the guest writes to it again.
TEST(ForeignJob, ACommitWhoseEditItPutsOffLeavesTheTopEmptyAllTheSame) {
  MirrorEventLog log;
  RunMirrorOnce(
      {.has_guest = false}, log,
      [](MirrorWorld& world, MirrorGuest&) MILLRACE_MAY_SUSPEND -> absl::Status {
        const std::shared_ptr<JobTransaction> transaction = world.jobs().NewTransaction();
        int preparations = 0;
        int questions = 0;
        ForeignJob::Script script;
        script.drained = world.chain.top();
        script.prepare = [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
          return ++preparations == 2 ? world.disk.CoWrite(world.chain.guest, 4, 3)
                                     : absl::OkStatus();
        };
        script.is_caught_up = [&] { return preparations == 2; };
        script.puts_off_edit = [&] { return ++questions == 2; };
        CommitOptions options = ActiveCommit(world, 2);
        options.empties_top = true;
        options.job.spec.transaction = transaction;
        options.job.spec.speed = 1;
        MILLRACE_RETURN_IF_ERROR(CoStartCommit(world.graph(), world.jobs(), options).status());
        // The newest member prepares first.
        MILLRACE_RETURN_IF_ERROR(CoStartForeign(world, script, transaction));
        MILLRACE_RETURN_IF_ERROR(world.jobs().SetSpeed("c", 0));
        MILLRACE_RETURN_IF_ERROR(world.CoWaitUntilOver("c"));
        EXPECT_EQ(preparations, 2);
        for (const Cluster each : world.chain.images[3]->map) {
          EXPECT_EQ(each, Cluster::kUnallocated);
        }
        return world.disk.CoVerifyAll(world.chain.guest);
      });
}

}  // namespace
}  // namespace millrace::foreign_job_test
