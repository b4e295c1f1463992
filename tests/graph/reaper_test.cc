// What becomes of nodes that nobody holds any more.
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/scheduler/decider.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/simulation.h"
#include "tests/support/zero_file.h"

namespace millrace::reaper_test {
namespace {

// A file that knows what its users may do, as one with image locks does.
class LockedFile final : public ZeroFile {
 public:
  explicit LockedFile(Permissions& granted) : ZeroFile("locked", 512), granted_(granted) {}
  absl::Status PreparePermissions(Permissions cumulative) override {
    prepared_ = cumulative;
    return absl::OkStatus();
  }
  void CommitPermissions() override { granted_ = prepared_; }

 private:
  Permissions& granted_;
  Permissions prepared_;
};

class ReaperTest : public GraphFixture {
 protected:
  const HolderRef me_ = MakeHolder("me", "test");
  const HolderRef other_ = MakeHolder("other", "test");
};

// Else the image locks of the format that is gone keep others out until some later edit.
TEST_F(ReaperTest, AFileLosesThePermissionsOfAFormatThatIsClosed) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Permissions granted;
    Attachment device;
    Attachment keep;
    {
      GraphTransaction change(*graph_);
      const NodeId file = change.AddNode(std::make_unique<LockedFile>(granted), {.name = "file"});
      const NodeId raw = change.AddNode(MakeRawDriver({}), {.name = "raw"});
      change.AddChild(raw, Role::kPrimary, file);
      keep = change.Attach(file, Keep(other_));
      AttachmentOptions writer;
      writer.holder = me_;
      writer.permissions.used = kConsistentRead | kWrite;
      device = change.Attach(raw, writer);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, Find("file")));
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, Find("raw")));
    EXPECT_TRUE(granted.used.Contains(kWrite));
    device.CoDetach();
    EXPECT_TRUE(granted.used.empty()) << granted.used.ToString();
    EXPECT_EQ(granted.shared, kAllPermissions);
    keep.CoDetach();
    return absl::OkStatus();
  });
}

// Two formats, one file. Those that are dropped hold it until they are closed, and nobody holds
// them: whoever looks at what an edit has touched does not take that for a broken graph.
class SharedFileTest : public ReaperTest {
 protected:
  absl::Status CoMake() MILLRACE_MAY_SUSPEND {
    {
      GraphTransaction change(*graph_);
      const NodeId file =
          change.AddNode(std::make_unique<ZeroFile>("shared", 1024), {.name = "file"});
      keep_ = change.Attach(file, Keep(other_));
      for (Attachment* device : {&first_, &second_}) {
        const std::string name = device == &first_ ? "first" : "second";
        const NodeId raw = change.AddNode(MakeRawDriver({}), {.name = name});
        change.AddChild(raw, Role::kPrimary, file);
        *device = change.Attach(raw, Keep(me_));
      }
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    for (const char* name : {"file", "first", "second"}) {
      MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, Find(name)));
    }
    return absl::OkStatus();
  }

  Attachment keep_;
  Attachment first_;
  Attachment second_;
};

TEST_F(SharedFileTest, DroppedNodesLetGoOfItOneAfterTheOther) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(CoMake());
    MILLRACE_RETURN_IF_ERROR(first_.Detach().status());
    MILLRACE_RETURN_IF_ERROR(second_.Detach().status());
    keep_.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(SharedFileTest, ANodeIsDroppedInTheEditThatTakesAnotherUserOffIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(CoMake());
    {
      GraphTransaction change(*graph_);
      change.Detach(first_);
      change.Detach(keep_);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    second_.CoDetach();
    return absl::OkStatus();
  });
}

// Gives out no stack for coroutines whose names begin so.
class NoStackForClosing final : public Decider {
 public:
  size_t Pick(ChoiceKind kind, absl::Span<const Option> options) override {
    const bool is_refused = kind == ChoiceKind::kFault && options[0].name.starts_with("close/");
    refused_ += is_refused ? 1 : 0;
    return is_refused ? 1 : 0;
  }
  int refused() const { return refused_; }

 private:
  int refused_ = 0;
};

TEST(Reaper, WithoutAStackWhoeverWaitsClosesWhatIsDropped) {
  NoStackForClosing decider;
  const std::unique_ptr<Engine> engine = SimulatedEngine(&decider);
  Graph graph(*engine);
  const absl::Status status =
      RunChecked(*engine, graph, true, [&]() MILLRACE_MAY_SUSPEND -> absl::Status {
        MILLRACE_ASSIGN_OR_RETURN(MemoryChain first, CoMakeMemoryChain(graph, {}, false));
        first.guest.CoDetach();
        EXPECT_EQ(graph.node_count(), 0u);
        // Its name and its images are free, and nobody waited for anybody.
        MILLRACE_ASSIGN_OR_RETURN(MemoryChain second,
                                  CoMakeMemoryChain(graph, {.images = first.images}, false));
        EXPECT_TRUE(second.guest.Detach().ok());
        graph.CoClose();
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_GE(decider.refused(), 2);
}

}  // namespace
}  // namespace millrace::reaper_test
