// Storms of jobs (tests/support/job_storm.h) over real qcow2 images, in files of a simulated host:
// streams beside commits beside filters that come and go, with two guests at work, under random
// schedules in which requests also take their time. At the end the guests' disk is what they wrote,
// by the graph and by the headers alone; every layer that is left shows what it must; and all
// images, those too that have left the chain, are without corruption and without leaks.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/scenario_kit/chain_jobs.h"
#include "examples/scenario_kit/layer_views.h"
#include "examples/scenario_kit/memory_chain.h"
#include "examples/scenario_kit/tagged_disk.h"
#include "millrace/engine/base/capabilities.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/attachment.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/driver_registry.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"
#include "tests/support/image_examiner.h"
#include "tests/support/job_fixture.h"
#include "tests/support/job_storm.h"
#include "tests/support/seeds.h"
#include "tests/support/simulation.h"

namespace millrace::qcow2_storm_test {
namespace {

constexpr size_t kLayers = 6;
constexpr uint64_t kSectors = 96;
constexpr uint64_t kGuests = 2;

std::string PathOf(size_t layer) { return StrCat("img-", layer); }

class Qcow2Storm final : public ChainJobs, public StormChain {
 public:
  Qcow2Storm(Engine& engine, uint64_t seed, JobStormCounts& counts)
      : world_(engine),
        seed_(seed),
        random_(seed, "qcow2 storm"),
        disk_(kSectors),
        is_unknown_(kLayers, false),
        counts_(counts) {}

  absl::Status CoRun() MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry_));
    absl::Status result = CoMakeImages();
    if (result.ok()) result = CoOpenChain();
    if (result.ok()) result = CoStorm();
    world_.jobs().CoShutdown();
    if (result.ok()) result = disk_.CoVerifyAll(chain_.guest);
    const std::vector<size_t> layers = LayersInUse();
    result.Update(world_.CoCloseAndLook(chain_));
    MILLRACE_RETURN_IF_ERROR(result);
    return CoLookAtImages(layers);
  }

  // ---- ChainJobs and StormChain ----------------------------------------------------------------

  Graph& graph() override { return world_.graph(); }
  JobManager& jobs() override { return world_.jobs(); }
  MemoryChain& chain() override { return chain_; }
  ChainJobs& chain_jobs() override { return *this; }
  uint64_t seed() const override { return seed_; }
  absl::Status CoBegin(StreamOptions options) override MILLRACE_MAY_SUSPEND {
    return CoStart(std::move(options));
  }
  absl::Status CoBegin(CommitOptions options) override MILLRACE_MAY_SUSPEND {
    return CoStart(std::move(options));
  }
  absl::Status CoPutFilter(const std::string& name, NodeId below) override MILLRACE_MAY_SUSPEND {
    InsertFilterOptions options;
    options.spec.is_internal = true;
    options.below = below;
    options.filter_name = name;
    MILLRACE_ASSIGN_OR_RETURN(const JobNumber number,
                              CoStartInsertFilter(graph(), jobs(), MakePassFilter(), options));
    return jobs().CoWaitUntilOver(number);
  }
  absl::Status CoTakeFilter(NodeId filter) override MILLRACE_MAY_SUSPEND {
    RemoveFilterOptions options;
    options.spec.is_internal = true;
    options.filter = filter;
    MILLRACE_ASSIGN_OR_RETURN(const JobNumber number,
                              CoStartRemoveFilter(graph(), jobs(), options));
    return jobs().CoWaitUntilOver(number);
  }
  void OnCommitted(size_t top, size_t base) override {
    shown_[base] = shown_[top];
    is_unknown_[base] = is_unknown_[top];
  }
  void OnWritten(size_t layer) override { is_unknown_[layer] = true; }

 private:
  absl::Status CoMakeImages() MILLRACE_MAY_SUSPEND {
    constexpr uint64_t kClusterBytes[] = {512, 512, 1024, 4096};
    CreateImageOptions create;
    create.qcow2.bytes = kSectors * TaggedDisk::kSector;
    create.qcow2.cluster_bytes = kClusterBytes[random_.Below(std::size(kClusterBytes))];
    create.qcow2.lazy_refcounts = random_.OneIn(4);
    for (size_t layer = 0; layer < kLayers; ++layer) {
      create.path = PathOf(layer);
      MILLRACE_RETURN_IF_ERROR(CoCreateImage(graph(), registry_, create));
      MILLRACE_RETURN_IF_ERROR(CoFill(create.path));
      shown_.push_back(disk_.versions());
      create.qcow2.backing_filename = create.path;
      create.qcow2.backing_format = "qcow2";
    }
    return absl::OkStatus();
  }
  // Some of each layer, in full view of the disk's model, which thereby shows what the layer shows.
  absl::Status CoFill(const std::string& path) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(
        OpenedImage image,
        CoOpenImage(graph(), registry_, {.path = path, .format = "qcow2", .node_names = {"fill"}}));
    absl::StatusOr<Attachment> attached =
        Attachment::Attach(graph(), image.top(), GuestDeviceOptions("drive0"));
    absl::Status status = attached.status();
    Attachment writer = attached.ok() ? *std::move(attached) : Attachment();
    for (uint64_t runs = 3 + random_.Below(5); runs > 0 && status.ok(); --runs) {
      const uint64_t sector = random_.Below(kSectors - 8);
      const uint64_t count = 1 + random_.Below(8);
      status.Update(random_.OneIn(5) ? disk_.CoZero(writer, sector, count, false)
                                     : disk_.CoWrite(writer, sector, count));
    }
    writer.CoDetach();
    image.holds[0].CoDetach();
    return status;
  }
  absl::Status CoOpenChain() MILLRACE_MAY_SUSPEND {
    OpenImageOptions open;
    open.path = PathOf(kLayers - 1);
    open.format = "qcow2";
    for (size_t layer = kLayers; layer > 0; --layer) {
      open.node_names.push_back(StrCat("n", layer - 1));
    }
    // As a monitor does that has added them one by one.
    open.holds_every_image = random_.OneIn(2);
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph(), registry_, open));
    chain_.nodes.assign(image.images.rbegin(), image.images.rend());
    chain_.monitor = std::move(image.holds);
    MILLRACE_ASSIGN_OR_RETURN(
        chain_.guest, Attachment::Attach(graph(), chain_.top(), GuestDeviceOptions("drive0")));
    OnWritten(kLayers - 1);
    return absl::OkStatus();
  }

  absl::Status CoStorm() MILLRACE_MAY_SUSPEND {
    // Or all that a job does would be done whenever somebody sleeps.
    SimulatedIo& io = *world_.engine().simulated_io();
    io.SetLatency(kMicrosecond);
    io.SetLatencyChoices(true);
    io.disk().options().can_clone = random_.OneIn(2);
    bool is_over = false;
    TaskScope guests("guests");
    for (uint64_t guest = 0; guest < kGuests; ++guest) {
      guests.Spawn(StrCat("guest", guest),
                   [&, guest]() MILLRACE_MAY_SUSPEND { return CoGuest(guest, is_over); });
    }
    absl::Status result = CoRunJobStorm(*this, &counts_);
    is_over = true;
    result.Update(guests.CoJoin());
    return result;
  }
  // Changes sectors of its own, and reads everybody's.
  absl::Status CoGuest(uint64_t guest, const bool& is_over) MILLRACE_MAY_SUSPEND {
    constexpr uint64_t kShare = kSectors / kGuests;
    RandomStream random(seed_, StrCat("guest", guest));
    while (!is_over) {
      const uint64_t count = 1 + random.Below(8);
      const uint64_t sector = guest * kShare + random.Below(kShare - count);
      switch (random.Below(8)) {
        case 0:
          MILLRACE_RETURN_IF_ERROR(disk_.CoZero(chain_.guest, sector, count, false));
          break;
        case 1:
          MILLRACE_RETURN_IF_ERROR(chain_.guest.CoFlush());
          break;
        default:
          MILLRACE_RETURN_IF_ERROR(disk_.CoWrite(chain_.guest, sector, count));
      }
      const uint64_t read = random.Below(kSectors - 8);
      MILLRACE_RETURN_IF_ERROR(disk_.CoVerify(chain_.guest, read, 8));
      MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMicrosecond));
    }
    return absl::OkStatus();
  }

  // From the top down.
  std::vector<size_t> LayersInUse() MILLRACE_OPENS_VIEW {
    return LayerViews::LayersInUse(chain_, graph());
  }

  // All is closed: what is in the files?
  absl::Status CoLookAtImages(const std::vector<size_t>& layers) MILLRACE_MAY_SUSPEND {
    std::map<std::string, ExaminedImage> images;
    for (size_t layer = 0; layer < kLayers; ++layer) {
      const std::string path = PathOf(layer);
      const SimulatedFile& file = *world_.engine().simulated_io()->disk().Find(path);
      ExaminedImage image = CoExamineImage(world_.engine(), file.current());
      if (!image.status.ok())
        return absl::DataLossError(StrCat(path, ": ", image.status.ToString()));
      if (image.was_repaired) return absl::DataLossError(StrCat(path, " is marked dirty"));
      if (image.leaks > 0) return absl::DataLossError(StrCat(path, " leaks ", image.leaks));
      images[path] = std::move(image);
    }
    std::vector<size_t> by_headers;
    for (std::string path = PathOf(kLayers - 1); !path.empty();
         path = images.at(path).backing_filename) {
      if (by_headers.size() == kLayers) return absl::DataLossError("the headers form a loop");
      by_headers.push_back(static_cast<size_t>(std::stoul(path.substr(4))));
    }
    if (by_headers != layers) return absl::DataLossError("the headers name other layers");
    shown_[kLayers - 1] = disk_.versions();
    is_unknown_[kLayers - 1] = false;
    for (size_t from = 0; from < layers.size(); ++from) {
      if (is_unknown_[layers[from]]) continue;
      for (uint64_t sector = 0; sector < kSectors; ++sector) {
        uint64_t value = kSectorFromBelow;
        for (size_t at = from; value == kSectorFromBelow && at < layers.size(); ++at) {
          value = images.at(PathOf(layers[at])).sectors[sector];
        }
        if (value == kSectorFromBelow) value = 0;
        if (value == shown_[layers[from]][sector]) continue;
        return absl::DataLossError(StrCat("sector ", sector, " of layer ", layers[from],
                                          " is of version ", value, ", not ",
                                          shown_[layers[from]][sector]));
      }
    }
    return absl::OkStatus();
  }

  JobWorld world_;
  const uint64_t seed_;
  RandomStream random_;
  DriverRegistry registry_;
  TaggedDisk disk_;
  MemoryChain chain_;                         // its nodes; the images are in files
  std::vector<std::vector<uint32_t>> shown_;  // by layer, bottom first
  std::vector<bool> is_unknown_;
  JobStormCounts& counts_;
};

TEST(Qcow2Storm, WhateverIsAcceptedLeavesSoundImagesThatShowWhatTheyMust) {
  JobStormCounts counts;
  constexpr uint64_t kCost = 2;
  Explore(
      [&](Engine& engine, uint64_t seed) {
        const absl::Status status = engine.Run(
            [&]() MILLRACE_MAY_SUSPEND { return Qcow2Storm(engine, seed, counts).CoRun(); });
        EXPECT_TRUE(status.ok()) << status;
      },
      kCost, {.buggify_one_in = 32, .latency_one_in = 256});
  EXPECT_GT(counts.started, SeedCount() / kCost);
  EXPECT_GT(counts.succeeded, counts.started / 2);
  EXPECT_GT(counts.beside_others, counts.started / 10);
  EXPECT_GT(counts.cancelled, 0u);
}

}  // namespace
}  // namespace millrace::qcow2_storm_test
