// What a client does to the graph under a running job: it is done or refused, the job goes on to a
// good end, and nothing breaks. (QEMU 7.2 aborts when the overlay above a named commit filter is
// pointed elsewhere.)
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "examples/scenario_kit/layer_views.h"
#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/jobs/commit/commit_job.h"
#include "millrace/jobs/mirror/mirror_job.h"
#include "millrace/jobs/stream/stream_job.h"
#include "tests/support/job_fixture.h"
#include "tests/support/simulation.h"

namespace millrace::client_edits_test {
namespace {

constexpr size_t kLayers = 5;

// n4 (drive0) <- n3 <- n2 <- n1 <- n0, each held by the monitor too.
class EditWorld {
 public:
  explicit EditWorld(Engine& engine) : world_(engine) {}

  absl::Status CoSetUp() MILLRACE_MAY_SUSPEND {
    MemoryChainOptions options;
    options.layers = kLayers;
    options.is_read_only = true;
    MILLRACE_ASSIGN_OR_RETURN(chain_, CoMakeMemoryChain(world_.graph(), options, true));
    TaggedDisk disk(options.bytes / TaggedDisk::kSector);
    FillLayers(chain_, disk);
    for (const auto& image : chain_.images) {
      filled_.push_back({image->map, std::vector<uint8_t>(options.bytes)});
      image->content.Read(0, IoVector(filled_.back().data.data(), options.bytes));
    }
    return absl::OkStatus();
  }
  void CoTearDown() MILLRACE_MAY_SUSPEND { world_.CoClose(chain_); }

  NodeId node(size_t layer) const { return chain_.nodes[layer]; }
  MemoryChain& chain() { return chain_; }
  std::string Shape() MILLRACE_OPENS_VIEW { return chain_.Shape(world_.graph()); }

  // A commit of n2 into n1 that stands still, below the filter "cf".
  absl::Status CoStartCommit(std::string filter) MILLRACE_MAY_SUSPEND {
    CommitOptions options;
    options.job.spec.id = "job";
    options.job.spec.speed = 1;
    options.root = node(4);
    options.top = node(2);
    options.base = node(1);
    options.job.filter_name = std::move(filter);
    return millrace::CoStartCommit(world_.graph(), world_.jobs(), std::move(options)).status();
  }
  // A stream of n3 down to n2 that stands still.
  absl::Status CoStartStream() MILLRACE_MAY_SUSPEND {
    StreamOptions options;
    options.job.spec.id = "job";
    options.job.spec.speed = 1;
    options.top = node(3);
    options.bottom = node(2);
    return millrace::CoStartStream(world_.graph(), world_.jobs(), std::move(options)).status();
  }

  // What a client's edit is: drained, in one transaction, on the monitor's behalf.
  absl::Status CoSetBacking(NodeId overlay, std::optional<NodeId> base) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(world_.graph(), {overlay}, {chain_.monitor_holder}));
    return SetBacking(drained, overlay, base);
  }
  // What these layers, from the top down, show on each other by what was in them at first.
  std::vector<uint8_t> Shown(std::vector<size_t> layers) const {
    std::vector<uint8_t> shown(filled_.front().data.size(), 0);
    const size_t bytes = chain_.images.front()->cluster_bytes;
    std::reverse(layers.begin(), layers.end());
    for (const size_t layer : layers) {
      const auto& [map, data] = filled_[layer];
      for (size_t i = 0; i < map.size(); ++i) {
        const auto at = static_cast<ptrdiff_t>(i * bytes);
        if (map[i] == MemoryOverlayImage::Cluster::kZero) {
          std::fill_n(shown.begin() + at, bytes, 0);
        } else if (map[i] == MemoryOverlayImage::Cluster::kData) {
          std::copy_n(data.begin() + at, bytes, shown.begin() + at);
        }
      }
    }
    return shown;
  }
  absl::Status CoExpectGuestSees(const std::vector<size_t>& layers) MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> seen(chain_.guest.bytes());
    MILLRACE_RETURN_IF_ERROR(chain_.guest.CoRead(0, IoVector(seen.data(), seen.size())));
    EXPECT_TRUE(seen == Shown(layers)) << "the guest's disk shows something else";
    return absl::OkStatus();
  }
  // In the images, once nobody has them open.
  void ExpectImageShows(size_t layer, const std::vector<size_t>& layers) const {
    EXPECT_TRUE(LayerViews::ViewByHeaders(chain_, layer) == Shown(layers))
        << "image " << layer << " shows something else";
  }
  absl::Status CoEndsWell() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(world_.jobs().SetSpeed("job", 0));
    return world_.jobs().CoWaitUntilOver("job");
  }

 private:
  absl::Status SetBacking(const DrainedSection& drained, NodeId overlay, std::optional<NodeId> base)
      MILLRACE_OPENS_VIEW {
    GraphTransaction change(world_.graph());
    change.Show(drained).OnBehalfOf(chain_.monitor_holder);
    change.SetBacking(overlay, base, std::nullopt);
    return change.Commit().status();
  }

  JobWorld world_;
  MemoryChain chain_;
  struct Layer {
    std::vector<MemoryOverlayImage::Cluster> map;
    std::vector<uint8_t> data;
  };
  std::vector<Layer> filled_;  // as they were at first
};

using EditBody = absl::FunctionRef<absl::Status(EditWorld&)>;

void TellEdit(EditBody body) {
  Explore([&](Engine& engine, uint64_t) {
    EditWorld world(engine);
    const absl::Status status = engine.Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_RETURN_IF_ERROR(world.CoSetUp());
      absl::Status result = body(world);
      world.CoTearDown();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  });
}

// The commit is left without an overlay, and with no header to rewrite.
TEST(ClientEdits, OverlayAboveANamedCommitFilterIsPointedElsewhere) {
  TellEdit([](EditWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoStartCommit("cf"));
    MILLRACE_RETURN_IF_ERROR(world.CoSetBacking(world.node(3), world.node(0)));
    EXPECT_EQ(world.Shape(), "n4 <- n3 <- n0");
    MILLRACE_RETURN_IF_ERROR(world.CoEndsWell());
    EXPECT_EQ(world.Shape(), "n4 <- n3 <- n0");
    EXPECT_EQ(world.chain().Header(3), "img-2");  // the client's affair
    return world.CoExpectGuestSees({4, 3, 0});
  });
}

// To show the base that the commit writes to is another matter: somebody would see it change.
TEST(ClientEdits, OverlayIsNotPointedAtTheBaseOfARunningCommit) {
  TellEdit([](EditWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoStartCommit("cf"));
    const std::optional<Conflict> conflict =
        ConflictOf(world.CoSetBacking(world.node(3), world.node(1)));
    EXPECT_TRUE(conflict && conflict->reason == ConflictReason::kPermission);
    MILLRACE_RETURN_IF_ERROR(world.CoEndsWell());
    EXPECT_EQ(world.Shape(), "n4 <- n3 <- n1 <- n0");
    return world.CoExpectGuestSees({4, 3, 2, 1, 0});
  });
}

TEST(ClientEdits, OverlayOfACommitGoesAndNobodyStandsOnItsFilter) {
  TellEdit([](EditWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoStartCommit("cf"));
    MILLRACE_RETURN_IF_ERROR(world.CoSetBacking(world.node(3), std::nullopt));
    world.chain().guest.CoDetach();
    world.chain().monitor.clear();
    MILLRACE_RETURN_IF_ERROR(world.CoEndsWell());
    world.ExpectImageShows(1, {2, 1, 0});
    return absl::OkStatus();
  });
}

TEST(ClientEdits, LeasedLinkIsNotChanged) {
  TellEdit([](EditWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoStartStream());
    for (const std::optional<NodeId> base :
         {std::optional<NodeId>(world.node(0)), std::optional<NodeId>()}) {
      const std::optional<Conflict> conflict = ConflictOf(world.CoSetBacking(world.node(3), base));
      EXPECT_TRUE(conflict && conflict->reason == ConflictReason::kFrozenLink);
      EXPECT_TRUE(conflict && !conflict->holders.empty() && conflict->holders[0].id == "job");
    }
    MILLRACE_RETURN_IF_ERROR(world.CoEndsWell());
    EXPECT_EQ(world.Shape(), "n4 <- n3 <- n1 <- n0");
    return world.CoExpectGuestSees({4, 3, 2, 1, 0});
  });
}

// A stream does not own its base: whatever is below its bottom at the end becomes the backing.
TEST(ClientEdits, BaseOfAStreamIsReplacedMeanwhile) {
  TellEdit([](EditWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoStartStream());
    MILLRACE_RETURN_IF_ERROR(world.CoSetBacking(world.node(2), world.node(0)));
    MILLRACE_RETURN_IF_ERROR(world.CoEndsWell());
    EXPECT_EQ(world.Shape(), "n4 <- n3 <- n0");
    EXPECT_EQ(world.chain().Header(3), "img-0");
    return world.CoExpectGuestSees({4, 3, 2, 0});
  });
}

TEST(ClientEdits, BaseOfAStreamIsTakenAwayMeanwhile) {
  TellEdit([](EditWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoStartStream());
    MILLRACE_RETURN_IF_ERROR(world.CoSetBacking(world.node(2), std::nullopt));
    MILLRACE_RETURN_IF_ERROR(world.CoEndsWell());
    EXPECT_EQ(world.Shape(), "n4 <- n3");
    EXPECT_EQ(world.chain().Header(3), "");
    return world.CoExpectGuestSees({4, 3, 2});
  });
}

TEST(ClientEdits, EverybodyButTheJobLetsGoOfItsNodes) {
  TellEdit([](EditWorld& world) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(world.CoStartStream());
    world.chain().guest.CoDetach();
    world.chain().monitor.clear();
    MILLRACE_RETURN_IF_ERROR(world.CoEndsWell());
    world.ExpectImageShows(3, {3, 2, 1, 0});
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::client_edits_test
