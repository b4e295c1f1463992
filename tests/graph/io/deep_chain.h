// A chain of many layers with random content and a model of it: what each layer has of each
// cluster, and so what the chain shows. For tests of what is remembered about a chain.
#ifndef MILLRACE_TESTS_GRAPH_IO_DEEP_CHAIN_H_
#define MILLRACE_TESTS_GRAPH_IO_DEEP_CHAIN_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "millrace/graph/reopen_nodes.h"
#include "tests/support/job_fixture.h"

namespace millrace {

// Layers count from the bottom; those that have left the chain keep their number.
class DeepChain {
 public:
  static constexpr uint64_t kCluster = 512;
  static constexpr uint64_t kClusters = 64;
  static constexpr uint64_t kBytes = kClusters * kCluster;
  static constexpr size_t kLayers = 14;

  explicit DeepChain(Engine& engine) : world_(engine) {}

  absl::Status CoMake(uint64_t seed) MILLRACE_MAY_SUSPEND {
    MemoryChainOptions options;
    options.layers = kLayers;
    options.bytes = kBytes;
    options.cluster_bytes = kCluster;
    options.map_takes_step = true;
    MILLRACE_ASSIGN_OR_RETURN(chain_, CoMakeMemoryChain(world_.graph(), options, false));
    MILLRACE_RETURN_IF_ERROR(CoLetTheGuestShareAll());
    layers_.assign(kLayers, Layer());
    RandomStream random(seed, "deep chain");
    for (size_t layer = 0; layer + 1 < kLayers; ++layer) {
      for (int i = 0; i < 5; ++i) {
        const uint64_t cluster = random.Below(kClusters);
        Put(*chain_.images[layer], layers_[layer], cluster,
            static_cast<uint8_t>(1 + random.Below(250)));
      }
    }
    return absl::OkStatus();
  }

  // ---- What users do to one layer ----------------------------------------------------------------

  // Writes where it has nothing, which the chain then shows.
  absl::Status CoFill(size_t layer, uint64_t cluster, uint8_t value) MILLRACE_MAY_SUSPEND {
    if (cluster >= layers_[layer].clusters) return absl::OkStatus();
    std::vector<uint8_t> data(kCluster, value);
    if (layers_[layer].content[cluster] == kNothing) layers_[layer].content[cluster] = value;
    return CoAs(layer, kWriteUnchanged, [&](Attachment& user) MILLRACE_MAY_SUSPEND {
      return user.CoWrite(cluster * kCluster, IoVector(data.data(), data.size()),
                          {.only_if_unallocated = true});
    });
  }
  // Zeroes a cluster, or the middle of one through which only zeroes show.
  absl::Status CoZero(size_t layer, uint64_t cluster) MILLRACE_MAY_SUSPEND {
    if (cluster >= layers_[layer].clusters) return absl::OkStatus();
    const bool is_zero_already = Shown(cluster, layer) == 0;
    const ByteRange part = is_zero_already
                               ? ByteRange(cluster * kCluster + kCluster / 4, kCluster / 2)
                               : ByteRange(cluster * kCluster, kCluster);
    layers_[layer].content[cluster] = kZeroed;
    return CoAs(layer, kWrite,
                [&](Attachment& user) MILLRACE_MAY_SUSPEND { return user.CoWriteZeroes(part); });
  }
  absl::Status CoDiscard(size_t layer, uint64_t cluster) MILLRACE_MAY_SUSPEND {
    if (cluster >= layers_[layer].clusters) return absl::OkStatus();
    layers_[layer].content[cluster] = kZeroed;  // what lies below must not come up
    return CoAs(layer, kWrite, [&](Attachment& user) MILLRACE_MAY_SUSPEND {
      return user.CoDiscard(ByteRange(cluster * kCluster, kCluster));
    });
  }
  // Behind its end a layer shows zeroes to those above. What it gains shows them too where what it
  // stands on reaches further than it did.
  absl::Status CoResize(size_t layer, uint64_t clusters) MILLRACE_MAY_SUSPEND {
    Layer& resized = layers_[layer];
    const bool hides = layer > 0 && layers_[PreviousInChain(layer)].clusters > resized.clusters;
    for (uint64_t i = clusters; i < resized.clusters; ++i) resized.content[i] = kNothing;
    for (uint64_t i = resized.clusters; i < clusters; ++i) {
      resized.content[i] = hides ? kZeroed : kNothing;
    }
    resized.clusters = clusters;
    return CoAs(layer, kResize, [&](Attachment& user) MILLRACE_MAY_SUSPEND {
      return user.CoResize(clusters * kCluster);
    });
  }
  // Read-only and writable again, as around somebody's job.
  absl::Status CoReopen(size_t layer) MILLRACE_MAY_SUSPEND {
    for (const bool is_read_only : {true, false}) {
      MILLRACE_RETURN_IF_ERROR(
          CoSetReadOnly(world_.graph(), chain_.nodes[layer], is_read_only, chain_.monitor_holder));
    }
    return absl::OkStatus();
  }
  // The same as a client does it; meanwhile another program writes to the image.
  absl::Status CoReopenWhileOthersWrite(size_t layer, uint64_t cluster, uint8_t value)
      MILLRACE_MAY_SUSPEND {
    for (const bool is_read_only : {true, false}) {
      std::vector<NodeChange> changes(1);
      changes[0].node = chain_.nodes[layer];
      changes[0].is_read_only = is_read_only;
      MILLRACE_RETURN_IF_ERROR(
          CoReopenNodes(world_.graph(), std::move(changes), chain_.monitor_holder));
      if (is_read_only) Put(*chain_.images[layer], layers_[layer], cluster, value);
    }
    return absl::OkStatus();
  }
  absl::Status CoWrite(uint64_t cluster, uint8_t value) MILLRACE_MAY_SUSPEND {
    if (cluster >= layers_.back().clusters) return absl::OkStatus();
    std::vector<uint8_t> data(kCluster, value);
    layers_.back().content[cluster] = value;
    return chain_.guest.CoWrite(cluster * kCluster, IoVector(data.data(), data.size()));
  }
  absl::StatusOr<std::vector<uint8_t>> CoRead(uint64_t offset, uint64_t bytes)
      MILLRACE_MAY_SUSPEND {
    std::vector<uint8_t> seen(bytes);
    MILLRACE_RETURN_IF_ERROR(chain_.guest.CoRead(offset, IoVector(seen.data(), seen.size())));
    return seen;
  }

  // ---- Edits ---------------------------------------------------------------------------------------

  // A layer in the middle goes away, as at the end of a job.
  absl::Status CoDrop(size_t layer) MILLRACE_MAY_SUSPEND {
    MILLRACE_RETURN_IF_ERROR(
        CoSetBacking(chain_.nodes[NextInChain(layer)], chain_.nodes[PreviousInChain(layer)]));
    layers_[layer].is_gone = true;
    return absl::OkStatus();
  }
  // A layer in the middle is exchanged for another image, as when a client reopens the one above
  // with another backing. It has `value` in `cluster`.
  absl::Status CoExchange(size_t layer, uint64_t cluster, uint8_t value) MILLRACE_MAY_SUSPEND {
    Layer fresh;
    auto image = std::make_shared<MemoryOverlayImage>(kBytes, kCluster);
    Put(*image, fresh, cluster, value);
    MILLRACE_ASSIGN_OR_RETURN(Attachment hold, CoAddLayer({.image = image}));
    const NodeId node = hold.node();
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(node, chain_.nodes[PreviousInChain(layer)]));
    MILLRACE_RETURN_IF_ERROR(CoSetBacking(chain_.nodes[NextInChain(layer)], node));
    hold.CoDetach();
    world_.graph().CoWaitForReaper();  // the next one gets the place of the one before
    chain_.nodes[layer] = node;
    layers_[layer] = std::move(fresh);
    return absl::OkStatus();
  }
  // A new, empty layer on top.
  absl::Status CoSnapshot() MILLRACE_MAY_SUSPEND {
    const NodeId old_top = chain_.nodes.back();
    Layer fresh;
    fresh.clusters = layers_.back().clusters;
    MemoryOverlayOptions driver;
    driver.bytes = fresh.clusters * kCluster;
    driver.cluster_bytes = kCluster;
    MILLRACE_ASSIGN_OR_RETURN(Attachment hold, CoAddLayer(std::move(driver)));
    const NodeId added = hold.node();
    MILLRACE_RETURN_IF_ERROR(CoEdit(old_top, [&](GraphTransaction& change) {
      change.SetBacking(added, old_top, std::nullopt);
      change.ReplaceNode(old_top, added);
    }));
    hold.CoDetach();
    chain_.nodes.push_back(added);
    layers_.push_back(std::move(fresh));
    return absl::OkStatus();
  }

  // ---- What is seen --------------------------------------------------------------------------------

  // The guest asks for everything, whatever it may see; what is cut off meanwhile it may not have.
  absl::Status CoScan() MILLRACE_MAY_SUSPEND {
    for (uint64_t at = 0; at < chain_.guest.bytes(); at += kCluster) {
      const absl::Status status = CoRead(at, 8).status();
      if (!status.ok() && at < chain_.guest.bytes()) return status;
    }
    return absl::OkStatus();
  }
  // The whole disk is what the layers make of it, however it is cut into reads.
  absl::Status CoVerify(RandomStream& random) MILLRACE_MAY_SUSPEND {
    const uint64_t end = layers_.back().clusters * kCluster;
    for (uint64_t at = 0; at < end;) {
      const uint64_t bytes = std::min(1 + random.Below(5 * kCluster), end - at);
      MILLRACE_ASSIGN_OR_RETURN(const std::vector<uint8_t> seen, CoRead(at, bytes));
      for (uint64_t i = 0; i < bytes; ++i) {
        const uint64_t cluster = (at + i) / kCluster;
        const uint8_t shown = Shown(cluster, layers_.size() - 1);
        if (seen[i] != shown) {
          return absl::DataLossError(
              StrCat("cluster ", cluster, " reads as ", int{seen[i]}, ", expected ", int{shown}));
        }
      }
      at += bytes;
    }
    return absl::OkStatus();
  }
  // A layer in the middle that is still there.
  size_t AnyInTheMiddle(RandomStream& random) const {
    for (;;) {
      const size_t layer = 1 + random.Below(layers_.size() - 2);
      if (!layers_[layer].is_gone) return layer;
    }
  }
  // Another one below it that is still there, the bottom included.
  size_t AnyBelow(RandomStream& random, size_t layer) const {
    for (;;) {
      const size_t below = random.Below(layer);
      if (!layers_[below].is_gone) return below;
    }
  }
  size_t top() const { return layers_.size() - 1; }
  size_t layers() const {
    return static_cast<size_t>(std::count_if(layers_.begin(), layers_.end(),
                                             [](const Layer& each) { return !each.is_gone; }));
  }

  MemoryChain& chain() { return chain_; }
  void CoClose() MILLRACE_MAY_SUSPEND { world_.CoClose(chain_); }

 private:
  static constexpr int kNothing = 0;
  static constexpr int kZeroed = -1;  // it says that there are zeroes
  struct Layer {
    uint64_t clusters = kClusters;
    std::vector<int> content = std::vector<int>(kClusters, kNothing);
    bool is_gone = false;
  };

  static void Put(MemoryOverlayImage& image, Layer& layer, uint64_t cluster, uint8_t value) {
    std::vector<uint8_t> data(kCluster, value);
    image.content.Write(cluster * kCluster, IoVector(data.data(), data.size()));
    image.map[cluster] = MemoryOverlayImage::Cluster::kData;
    layer.content[cluster] = value;
  }
  // What the chain from this layer down shows.
  uint8_t Shown(uint64_t cluster, size_t from) const {
    for (size_t i = from + 1; i-- > 0;) {
      if (layers_[i].is_gone) continue;
      if (cluster >= layers_[i].clusters) return 0;
      const int content = layers_[i].content[cluster];
      if (content != kNothing) return content == kZeroed ? 0 : static_cast<uint8_t>(content);
    }
    return 0;
  }
  size_t NextInChain(size_t layer) const {
    do ++layer;
    while (layers_[layer].is_gone);
    return layer;
  }
  size_t PreviousInChain(size_t layer) const {
    do --layer;
    while (layers_[layer].is_gone);
    return layer;
  }
  // Else nobody else may write to or resize the layers below it.
  absl::Status CoLetTheGuestShareAll() MILLRACE_MAY_SUSPEND {
    AttachmentOptions options;
    options.holder = chain_.guest_holder;
    MILLRACE_ASSIGN_OR_RETURN(Attachment keep,
                              Attachment::Attach(world_.graph(), chain_.top(), options));
    chain_.guest.CoDetach();
    options.permissions = {kConsistentRead | kWrite, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(chain_.guest,
                              Attachment::Attach(world_.graph(), chain_.top(), options));
    keep.CoDetach();
    return absl::OkStatus();
  }
  template <typename Body>
  absl::Status CoAs(size_t layer, PermissionSet used, Body body) MILLRACE_MAY_SUSPEND {
    AttachmentOptions options;
    options.holder = chain_.monitor_holder;
    options.permissions = {used, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(Attachment user,
                              Attachment::Attach(world_.graph(), chain_.nodes[layer], options));
    const absl::Status status = body(user);
    user.CoDetach();
    return status;
  }
  absl::StatusOr<Attachment> AddLayer(MemoryOverlayOptions driver) MILLRACE_OPENS_VIEW {
    GraphTransaction change(world_.graph());
    const NodeId added = change.AddNode(MakeMemoryOverlayDriver(std::move(driver)), {});
    AttachmentOptions keep;
    keep.holder = chain_.monitor_holder;
    keep.stays_at_node = true;
    Attachment hold = change.Attach(added, keep);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    return hold;
  }
  // A node that nothing stands on yet, open.
  absl::StatusOr<Attachment> CoAddLayer(MemoryOverlayOptions driver) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(Attachment hold, AddLayer(std::move(driver)));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(world_.graph(), hold.node()));
    return hold;
  }
  absl::Status CoSetBacking(NodeId overlay, NodeId base) MILLRACE_MAY_SUSPEND {
    return CoEdit(
        overlay, [&](GraphTransaction& change) { change.SetBacking(overlay, base, std::nullopt); });
  }
  // Inside a section of the monitor's on the node.
  template <typename Stage>
  absl::Status CoEdit(NodeId node, Stage stage) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(world_.graph(), {node}, {chain_.monitor_holder}));
    return Commit(drained, stage);
  }
  template <typename Stage>
  absl::Status Commit(const DrainedSection& drained, Stage stage) MILLRACE_OPENS_VIEW {
    GraphTransaction change(world_.graph());
    change.OnBehalfOf(chain_.monitor_holder).Show(drained);
    stage(change);
    return change.Commit().status();
  }

  JobWorld world_;
  MemoryChain chain_;
  std::vector<Layer> layers_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_GRAPH_IO_DEEP_CHAIN_H_
