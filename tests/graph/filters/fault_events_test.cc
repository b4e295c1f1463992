// Fault injection knows QEMU's names of events. Here each of them is raised, by an operation in a
// graph, or stands on a list with the reason why it never is; a rule for an event that cannot
// happen would be accepted in silence.
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/event.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/filters/copy_on_read.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/open_node.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/qcow2_images.h"

namespace millrace::fault_events_test {
namespace {

constexpr uint64_t kCluster = 512;
constexpr uint64_t kBytes = 3 << 20;

// What the image holds that the events are raised over.
enum class Content : uint8_t {
  kEmpty,
  kFull,          // the first MiB
  kShared,        // the same, and a snapshot of it
  kCompressed,    // the first cluster
  kNearlyTooLong  // what fills its refcount table; 64-bit refcounts
};

CrashDisk MakeContent(Content content) {
  const bool is_wide = content == Content::kNearlyTooLong;
  CrashDisk disk =
      MakeImage({.bytes = kBytes, .cluster_bytes = kCluster, .refcount_bits = is_wide ? 64u : 16u});
  if (content == Content::kEmpty) return disk;
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const uint64_t bytes = is_wide ? (2 << 20) - (150 << 10) : 1 << 20;
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    const absl::Status result = node.CoWrite(0, std::vector<uint8_t>(bytes, 'a'));
    node.CoClose();
    return result;
  });
  EXPECT_TRUE(status.ok()) << status;
  CraftedQcow2 crafted(std::move(disk));
  if (content == Content::kShared) crafted.AddSnapshot("before");
  if (content == Content::kCompressed) crafted.Compress(0, std::vector<uint8_t>(kCluster, 'a'));
  return crafted.Finish();
}

// Where blkdebug is: below the format, as its file, or above it.
enum class Place : uint8_t { kBelowFormat, kBelowCopyOnRead };

struct Case {
  const char* event;
  std::function<absl::Status(Attachment&)> operation;
  Content content = Content::kEmpty;
  Place place = Place::kBelowFormat;
  uint64_t align = 0;
};
void PrintTo(const Case& each, std::ostream* out) { *out << each.event; }

absl::Status CoWrite(Attachment& guest, uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
  std::string data(bytes, 'b');
  return guest.CoWrite(offset, IoVector(data.data(), data.size()));
}
absl::Status CoRead(Attachment& guest, uint64_t offset, uint64_t bytes) MILLRACE_MAY_SUSPEND {
  std::string data(bytes, ' ');
  return guest.CoRead(offset, IoVector(data.data(), data.size()));
}

using Operation = std::function<absl::Status(Attachment&)>;
Operation Write(uint64_t offset, uint64_t bytes) {
  return [=](Attachment& guest) MILLRACE_MAY_SUSPEND { return CoWrite(guest, offset, bytes); };
}
Operation Read(uint64_t offset, uint64_t bytes) {
  return [=](Attachment& guest) MILLRACE_MAY_SUSPEND { return CoRead(guest, offset, bytes); };
}
Operation Flush() {
  return [](Attachment& guest) MILLRACE_MAY_SUSPEND { return guest.CoFlush(); };
}
Operation WriteAndFlush(uint64_t offset, uint64_t bytes) {
  return [=](Attachment& guest) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(CoWrite(guest, offset, bytes));
    return guest.CoFlush();
  };
}
// What it lets go of is given back once the tables without it are durable, with a later change.
Operation DiscardAndGoOn() {
  return [](Attachment& guest) MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(guest.CoDiscard(ByteRange(0, 8 * kCluster)));
    for (uint64_t i = 1; i <= 3; ++i) {
      MILLRACE_RETURN_IF_ERROR(guest.CoFlush());
      MILLRACE_RETURN_IF_ERROR(CoWrite(guest, kBytes - i * kCluster, kCluster));
    }
    return absl::OkStatus();
  };
}
Operation Zero(uint64_t offset, uint64_t bytes) {
  return [=](Attachment& guest)
             MILLRACE_MAY_SUSPEND { return guest.CoWriteZeroes(ByteRange(offset, bytes)); };
}
Operation Resize(uint64_t bytes) {
  return [=](Attachment& guest) MILLRACE_MAY_SUSPEND { return guest.CoResize(bytes); };
}

// Checked against qemu-io 7.2 with a break point at each event and the same operations, as far as
// it has them.
std::vector<Case> Raised() {
  const uint64_t many = 256 << 10;
  return {
      {"l1_update", WriteAndFlush(0, kCluster)},
      {"l1_grow_alloc_table", Resize(uint64_t{64} << 20)},
      {"l1_grow_write_table", Resize(uint64_t{64} << 20)},
      {"l1_grow_activate_table", Resize(uint64_t{64} << 20)},
      {"l2_load", Read(0, 512), Content::kFull},
      {"l2_update", WriteAndFlush(0, kCluster)},
      {"l2_alloc_cow_read", Write(0, kCluster), Content::kShared},
      {"l2_alloc_write", Write(0, kCluster)},
      {"read_aio", Read(0, 512), Content::kFull},
      {"read_backing_aio", Read(0, 512)},
      {"read_compressed", Read(0, 512), Content::kCompressed},
      {"write_aio", Write(100, 10)},
      {"cow_read", Write(100, 10)},
      {"cow_write", Write(100, 10)},
      {"reftable_load", Write(0, kCluster)},
      {"reftable_grow", Write(1 << 20, many + (1 << 20)), Content::kNearlyTooLong},
      {"refblock_load", Write(0, kCluster)},
      {"refblock_update_part", WriteAndFlush(0, kCluster)},
      {"refblock_alloc", Write(0, many)},
      {"refblock_alloc_hookup", WriteAndFlush(0, many)},
      {"refblock_alloc_write", Write(0, many)},
      {"refblock_alloc_write_blocks", Write(1 << 20, 2 << 20), Content::kNearlyTooLong},
      {"refblock_alloc_write_table", Write(1 << 20, 2 << 20), Content::kNearlyTooLong},
      {"refblock_alloc_switch_table", Write(1 << 20, 2 << 20), Content::kNearlyTooLong},
      {"cluster_alloc", Write(0, kCluster)},
      {"cluster_free", DiscardAndGoOn(), Content::kFull},
      {"flush_to_os", Flush()},
      {"flush_to_disk", Flush()},
      // In blkdebug's own blocks, of eight of our clusters; the last one and one inside.
      {"pwritev_rmw_head", Write(kCluster, kCluster), Content::kFull, Place::kBelowFormat, 4096},
      {"pwritev_rmw_after_head", Write(kCluster, kCluster), Content::kFull, Place::kBelowFormat,
       4096},
      {"pwritev_rmw_tail", Write(4 * kCluster, kCluster), Content::kFull, Place::kBelowFormat,
       4096},
      {"pwritev_rmw_after_tail", Write(4 * kCluster, kCluster), Content::kFull, Place::kBelowFormat,
       4096},
      {"pwritev", Write(0, kCluster)},
      {"pwritev_zero", Zero(0, kCluster), Content::kEmpty, Place::kBelowCopyOnRead},
      {"pwritev_done", Write(0, kCluster)},
      {"cor_write", Read(0, 512), Content::kEmpty, Place::kBelowCopyOnRead},
  };
}

// Names that are accepted, so that QEMU's configuration files are, and why nothing raises them.
struct Unraised {
  const char* event;
  const char* reason;
};
constexpr Unraised kUnraised[] = {
    {"l2_update_compressed", "we write no compressed clusters"},
    {"write_compressed", "we write no compressed clusters"},
    {"cluster_alloc_bytes",
     "QEMU: a piece of a cluster, for compressed data, which we do not write"},
    {"vmstate_load", "we load no machine state"},
    {"vmstate_save", "we save no machine state"},
    {"reftable_update", "QEMU 7.2 raises it nowhere that qemu-io reaches"},
    {"refblock_update", "QEMU 7.2 raises it nowhere that qemu-io reaches"},
    {"empty_image_prepare", "we empty no image: a commit leaves its top as it is"},
    {"l1_shrink_write_table", "our L1 table stays as long as it is when an image gets shorter"},
    {"l1_shrink_free_l2_clusters", "the same"},
    {"cluster_alloc_space", "what surrounds a write into a new cluster is written with it"},
    {"none", "holds from the start; no event"},
};

class FaultEvents : public testing::TestWithParam<Case> {
 protected:
  // "guest -> [cor ->] top -> dbg -> disk; top -> base", or "guest -> cor -> dbg -> top -> disk".
  absl::StatusOr<Attachment> CoBuild(const Case& test) MILLRACE_MAY_SUSPEND {
    const bool is_below = test.place == Place::kBelowFormat;
    auto image = std::make_shared<MemoryImage>();
    std::vector<uint8_t> content = MakeContent(test.content).live();
    image->bytes = content.size();
    image->content.Write(0, IoVector(content.data(), content.size()));
    MILLRACE_ASSIGN_OR_RETURN(
        std::unique_ptr<FilterDriver> faults,
        MakeFaultInjectionDriver({.limits = {.align = test.align}, .break_points = breaks_}));
    std::vector<NodeId> nodes;
    Attachment guest;
    {
      GraphTransaction change(*graph_);
      const NodeId disk = change.AddNode(MakeMemoryDriver({.image = image}), {.name = "disk"});
      const NodeId base = change.AddNode(MakeMemoryDriver({.bytes = kBytes}), {.name = "base"});
      const NodeId dbg = change.AddNode(std::move(faults), {.name = "dbg"});
      const NodeId top = change.AddNode(MakeQcow2Driver(), {.name = "top"});
      change.AddChild(top, Role::kPrimary, is_below ? dbg : disk);
      change.AddChild(dbg, Role::kFiltered, is_below ? disk : top);
      change.AddChild(top, Role::kBacking, base);
      NodeId above = top;
      nodes = {disk, base, dbg, top};
      if (!is_below) {
        above = change.AddNode(MakeCopyOnReadDriver({}), {.name = "cor"});
        change.AddChild(above, Role::kFiltered, dbg);
        nodes = {disk, base, top, dbg, above};
      }
      AttachmentOptions device;
      device.holder = MakeHolder("guest", "block device");
      device.permissions = {kConsistentRead | kWrite | kResize, kAllPermissions};
      guest = change.Attach(above, device);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    for (const NodeId node : nodes) MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, node));
    return guest;
  }

  // Whether a request stood still at the event; it is let go, and the operation must succeed.
  absl::StatusOr<bool> CoIsReached(Attachment& guest, const Case& test) MILLRACE_MAY_SUSPEND {
    Event heard("the break point");
    breaks_->SetListener([&](std::string_view what, std::string_view) {
      if (what == "Suspended") heard.Set();
    });
    MILLRACE_RETURN_IF_ERROR(breaks_->Add(test.event, "A"));
    bool is_reached = false;
    TaskScope scope("test");
    scope.Spawn("operation", [&]() MILLRACE_MAY_SUSPEND {
      const absl::Status status = test.operation(guest);
      heard.Set();
      return status;
    });
    heard.CoWait();
    is_reached = breaks_->IsSuspended("A");
    if (is_reached) MILLRACE_RETURN_IF_ERROR(breaks_->Resume("A"));
    MILLRACE_RETURN_IF_ERROR(scope.CoJoin());
    breaks_->SetListener(nullptr);
    breaks_->RemoveAll();
    return is_reached;
  }

  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  std::unique_ptr<Graph> graph_ = std::make_unique<Graph>(*engine_);
  std::shared_ptr<BreakPoints> breaks_ = std::make_shared<BreakPoints>();
};

TEST_P(FaultEvents, IsRaisedByThisOperation) {
  const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment guest, CoBuild(GetParam()));
    MILLRACE_ASSIGN_OR_RETURN(const bool is_reached, CoIsReached(guest, GetParam()));
    EXPECT_TRUE(is_reached);
    guest.CoDetach();
    graph_->CoClose();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}
INSTANTIATE_TEST_SUITE_P(Events, FaultEvents, testing::ValuesIn(Raised()),
                         [](const auto& each) { return std::string(each.param.event); });

TEST(FaultEventNames, EachIsRaisedOrHasAReasonWhyNot) {
  std::vector<std::string> told;
  for (const Case& each : Raised()) told.emplace_back(each.event);
  for (const Unraised& each : kUnraised) {
    EXPECT_NE(std::string(each.reason), "");
    told.emplace_back(each.event);
  }
  std::vector<std::string> names;
  for (const std::string_view name : FaultEventNames()) names.emplace_back(name);
  EXPECT_THAT(told, testing::UnorderedElementsAreArray(names));
}

}  // namespace
}  // namespace millrace::fault_events_test
