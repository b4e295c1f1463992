// What a simulated test of block jobs needs: an engine, a graph, a job manager, a chain, and the
// events of its jobs in order.
#ifndef MILLRACE_TESTS_SUPPORT_JOB_FIXTURE_H_
#define MILLRACE_TESTS_SUPPORT_JOB_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/engine.h"
#include "millrace/engine/job/job_event.h"
#include "millrace/engine/job/job_manager.h"
#include "millrace/graph/graph.h"
#include "millrace/jobs/block_job.h"
#include "tests/support/memory_chain.h"

namespace millrace {

// A graph with jobs on an engine that somebody else drives.
class JobWorld {
 public:
  explicit JobWorld(Engine& engine)
      : engine_(engine), graph_(engine), committer_(graph_), jobs_(engine, committer_) {}

  Engine& engine() { return engine_; }
  Graph& graph() { return graph_; }
  JobManager& jobs() { return jobs_; }

  // Lets everything end and checks that nothing is left behind.
  void CoClose(MemoryChain& chain) MILLRACE_MAY_SUSPEND {
    jobs_.CoShutdown();
    absl::Status invariants = graph_.CheckInvariants();
    EXPECT_TRUE(invariants.ok()) << invariants;
    chain.guest.CoDetach();
    chain.monitor.clear();
    graph_.CoClose();
    EXPECT_EQ(graph_.node_count(), 0u);
  }

 private:
  Engine& engine_;
  Graph graph_;
  BlockJobCommitter committer_;
  JobManager jobs_;
};

// Data that tells where and when it was written: every sector carries its number and a version.
class TaggedDisk {
 public:
  static constexpr uint64_t kSector = 512;
  explicit TaggedDisk(uint64_t sectors) : versions_(sectors, 0) {}

  uint64_t sectors() const { return versions_.size(); }
  // Content of a sector at a version; version 0 is zeroes.
  static std::vector<uint8_t> Content(uint64_t sector, uint32_t version);
  // Writes a new version of some sectors through the attachment.
  absl::Status CoWrite(Attachment& attachment, uint64_t sector, uint64_t count)
      MILLRACE_MAY_SUSPEND;
  // Makes some sectors zeroes, by writing them or by discarding.
  absl::Status CoZero(Attachment& attachment, uint64_t sector, uint64_t count, bool discard)
      MILLRACE_MAY_SUSPEND;
  // Reads sectors and compares with what was written last.
  absl::Status CoVerify(Attachment& attachment, uint64_t sector, uint64_t count)
      MILLRACE_MAY_SUSPEND;
  absl::Status CoVerifyAll(Attachment& attachment) MILLRACE_MAY_SUSPEND {
    return CoVerify(attachment, 0, sectors());
  }
  // Puts a new version of a sector into an image that is not in use; upper layers come last.
  void Put(MemoryOverlayImage& image, uint64_t sector);
  // The version every sector has now, 0 for zeroes.
  const std::vector<uint32_t>& versions() const { return versions_; }

 private:
  std::vector<uint32_t> versions_;
  uint32_t next_version_ = 1;
};

// Fills a chain so that every layer holds some clusters of its own: layer i has those where
// (cluster + i) % 3 == 0, in full view of the disk's model. Runs over the images directly.
void FillLayers(MemoryChain& chain, TaggedDisk& disk);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_JOB_FIXTURE_H_
