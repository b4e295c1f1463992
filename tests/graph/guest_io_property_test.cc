// A guest reads and writes all the while others drain, edit, lease and reopen under it. Every
// sector carries the tag of the write it came from, so every read can be judged: it must return a
// write that was not overwritten before the read began, nor begun after it ended.
#include <algorithm>
#include <array>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::guest_io_property_test {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kSectors = 6;
constexpr uint64_t kForEver = UINT64_MAX;

// What each sector may read as.
class SectorHistory {
 public:
  SectorHistory() {
    for (auto& writes : sectors_) writes.push_back({0, 0, 0});
  }
  uint64_t Begin(uint64_t sector, uint64_t tag) {
    sectors_[sector].push_back({tag, ++now_, kForEver});
    return sectors_[sector].size() - 1;
  }
  void End(uint64_t sector, uint64_t index) { sectors_[sector][index].end = ++now_; }
  uint64_t Now() { return ++now_; }

  bool IsAllowed(uint64_t sector, uint64_t tag, uint64_t read_begin) const {
    const std::vector<Write>& writes = sectors_[sector];
    const auto found =
        std::find_if(writes.begin(), writes.end(), [&](const Write& w) { return w.tag == tag; });
    if (found == writes.end()) return false;
    return std::none_of(writes.begin(), writes.end(), [&](const Write& later) {
      return later.begin > found->end && later.end < read_begin;
    });
  }

 private:
  struct Write {
    uint64_t tag;
    uint64_t begin;
    uint64_t end;
  };
  std::array<std::vector<Write>, kSectors> sectors_;
  uint64_t now_ = 0;
};

class World {
 public:
  World(Engine& engine, uint64_t seed) : graph_(engine), random_(seed, "world") {}
  Graph& graph() { return graph_; }
  int reads() const { return reads_; }
  int queued_reads() const { return queued_reads_; }

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    MemoryChainOptions options;
    options.bytes = kSectors * kSectorBytes;
    MILLRACE_ASSIGN_OR_RETURN(chain_, CoMakeMemoryChain(graph_, options, true));
    MILLRACE_RETURN_IF_ERROR(CoActAtOnce());
    chain_.monitor.clear();
    chain_.guest.CoDetach();
    graph_.CoClose();
    EXPECT_EQ(graph_.node_count(), 0u);
    return absl::OkStatus();
  }

 private:
  absl::Status CoActAtOnce() MILLRACE_MAY_SUSPEND {
    TaskScope scope("actors");
    for (uint64_t guest = 0; guest < 2; ++guest) {
      scope.Spawn("guest", [this, guest]() MILLRACE_MAY_SUSPEND { return CoGuest(guest); });
    }
    for (HandDrivenJob* job : {&one_, &two_}) {
      scope.Spawn("job", [this, job]() MILLRACE_MAY_SUSPEND { return CoJob(*job); });
    }
    scope.Spawn("monitor", [this]() MILLRACE_MAY_SUSPEND { return CoMonitor(); });
    return scope.CoJoin();
  }

  absl::Status CoGuest(uint64_t guest) MILLRACE_MAY_SUSPEND {
    for (uint64_t i = 0; i < 6; ++i) {
      const uint64_t first = random_.Below(kSectors);
      const uint64_t count = 1 + random_.Below(std::min<uint64_t>(kSectors - first, 2));
      if (random_.OneIn(2)) {
        MILLRACE_RETURN_IF_ERROR(CoWrite(first, count, guest * 100 + i + 1));
      } else {
        MILLRACE_RETURN_IF_ERROR(CoRead(first, count));
      }
    }
    return CoRead(0, kSectors);
  }

  absl::Status CoWrite(uint64_t first, uint64_t count, uint64_t tag) MILLRACE_MAY_SUSPEND {
    std::vector<uint64_t> words(count * kSectorBytes / sizeof(uint64_t), tag);
    std::vector<uint64_t> indices;
    for (uint64_t i = 0; i < count; ++i) indices.push_back(history_.Begin(first + i, tag));
    MILLRACE_RETURN_IF_ERROR(
        chain_.guest.CoWrite(first * kSectorBytes, IoVector(words.data(), count * kSectorBytes)));
    for (uint64_t i = 0; i < count; ++i) history_.End(first + i, indices[i]);
    return absl::OkStatus();
  }

  absl::Status CoRead(uint64_t first, uint64_t count) MILLRACE_MAY_SUSPEND {
    std::vector<uint64_t> words(count * kSectorBytes / sizeof(uint64_t), kForEver);
    const uint64_t begin = history_.Now();
    ++reads_;
    if (IsTopQuiesced()) ++queued_reads_;
    MILLRACE_RETURN_IF_ERROR(
        chain_.guest.CoRead(first * kSectorBytes, IoVector(words.data(), count * kSectorBytes)));
    const uint64_t per_sector = kSectorBytes / sizeof(uint64_t);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t tag = words[i * per_sector];
      EXPECT_TRUE(history_.IsAllowed(first + i, tag, begin))
          << "sector " << first + i << " read as write " << tag;
      // A sector is one cluster here, so it is never torn.
      for (uint64_t w = 1; w < per_sector; ++w) EXPECT_EQ(words[i * per_sector + w], tag);
    }
    return absl::OkStatus();
  }
  bool IsTopQuiesced() MILLRACE_OPENS_VIEW {
    GraphView view(graph_);
    return view.Resolve(chain_.guest.node())->is_quiesced();
  }

  // Takes steps; puts a filter somewhere in the chain, works a little, takes it out again.
  absl::Status CoJob(HandDrivenJob& job) MILLRACE_MAY_SUSPEND {
    const HolderRef holder = job.MakeHolderOf();
    for (int round = 0; round < 2; ++round) {
      job.CoBeginStep();
      MILLRACE_ASSIGN_OR_RETURN(Attachment work, AttachJob(holder));
      const NodeId below = chain_.nodes[random_.Below(chain_.nodes.size())];
      MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsert(below, holder));
      job.EndStep();
      for (uint64_t i = random_.Below(4); i > 0; --i) {
        job.CoBeginStep();
        CoYield();
        job.EndStep();
      }
      job.CoBeginStep();
      MILLRACE_RETURN_IF_ERROR(CoRemove(filter, holder));
      if (random_.OneIn(2)) {
        work.CoDetach();
      } else {
        EXPECT_TRUE(work.Detach().ok());
      }
      job.EndStep();
    }
    return absl::OkStatus();
  }
  absl::StatusOr<Attachment> AttachJob(const HolderRef& holder) MILLRACE_OPENS_VIEW {
    AttachmentOptions options;
    options.holder = holder;
    options.queues_requests = false;
    options.stays_at_node = true;
    return Attachment::Attach(graph_, chain_.nodes[random_.Below(chain_.nodes.size())], options);
  }

  absl::StatusOr<NodeId> CoInsert(NodeId below, const HolderRef& holder) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(graph_, {below}, {holder}));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, Insert(below, drained));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph_, filter));
    return filter;
  }
  absl::StatusOr<NodeId> Insert(NodeId below, const DrainedSection& drained) MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph_);
    const NodeId filter = change.AddNode(std::make_unique<PassFilter>(), {});
    change.Show(drained).InsertFilter(filter, below);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    return filter;
  }
  absl::Status CoRemove(NodeId filter, const HolderRef& holder) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(graph_, {filter}, {holder}));
    std::vector<NodeId> dropped;
    MILLRACE_RETURN_IF_ERROR(Remove(filter, drained, &dropped));
    drained.End();
    graph_.CoWaitForClosed(dropped);
    return absl::OkStatus();
  }
  absl::Status Remove(NodeId filter, const DrainedSection& drained, std::vector<NodeId>* dropped)
      MILLRACE_OPENS_VIEW {
    GraphTransaction change(graph_);
    change.Show(drained).RemoveFilter(filter);
    MILLRACE_ASSIGN_OR_RETURN(AppliedEdit edit, change.Commit());
    *dropped = edit.dropped;
    return absl::OkStatus();
  }

  // Drains without an owner, and makes a lower layer read-only and writable again.
  absl::Status CoMonitor() MILLRACE_MAY_SUSPEND {
    for (int round = 0; round < 3; ++round) {
      const NodeId node = chain_.nodes[random_.Below(chain_.nodes.size())];
      if (random_.OneIn(2)) {
        MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                                  DrainedSection::CoBegin(graph_, {node}, {}));
        for (uint64_t i = random_.Below(6); i > 0; --i) CoYield();
      } else if (node != chain_.top()) {
        MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(graph_, node, true, chain_.monitor_holder));
        MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(graph_, node, false, chain_.monitor_holder));
      }
    }
    return absl::OkStatus();
  }

  Graph graph_;
  RandomStream random_;
  MemoryChain chain_;
  SectorHistory history_;
  HandDrivenJob one_{"one"};
  HandDrivenJob two_{"two"};
  int reads_ = 0;
  int queued_reads_ = 0;
};

TEST(GuestIoProperty, EveryReadIsRightWhileOthersDrainAndEdit) {
  int reads = 0;
  int queued = 0;
  Explore([&](Engine& engine, uint64_t seed) {
    World world(engine, seed);
    absl::Status status = RunChecked(engine, world.graph(), seed % 16 == 0,
                                     [&]() MILLRACE_MAY_SUSPEND { return world.CoRun(); });
    EXPECT_TRUE(status.ok()) << status;
    reads += world.reads();
    queued += world.queued_reads();
  });
  // The overlap that this test is about did happen.
  EXPECT_GT(queued, reads / 50);
}

}  // namespace
}  // namespace millrace::guest_io_property_test
