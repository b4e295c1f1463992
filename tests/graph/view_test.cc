#include "millrace/graph/graph_view.h"

#include "millrace/engine/base/status_macros.h"
#include "tests/support/graph_fixture.h"

namespace millrace::view_test {
namespace {

class ViewTest : public GraphFixture {
 protected:
  template <typename Ask>
  void Look(Ask&& ask) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    ask(view);
  }

  const HolderRef me_ = MakeHolder("me", "test");
};

TEST_F(ViewTest, ANodeTellsWhatItIsAndWhoUsesIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain,
                              CoMakeMemoryChain(*graph_, {.is_read_only = true}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[0], me_));
    Look([&](const GraphReader& view) {
      const NodeView top = *view.Resolve(chain.top());
      EXPECT_EQ(top.name(), "n2");
      EXPECT_EQ(top.driver_name(), "memory-overlay");
      EXPECT_EQ(top.kind(), NodeKind::kFormat);
      EXPECT_TRUE(top.has_attachment());
      EXPECT_EQ(top.device_name(), "drive0");
      EXPECT_TRUE(top.parents().empty());
      EXPECT_FALSE(top.is_read_only());
      EXPECT_EQ(top.backing_reference().filename, "img-1");
      EXPECT_TRUE(top.supports_backing());
      const NodeView pass = *view.Resolve(filter);
      EXPECT_TRUE(pass.is_filter());
      EXPECT_EQ(pass.bytes(), top.bytes());
      // A filter that somebody put there has no name but its options.
      EXPECT_EQ(pass.filename(),
                "json:{\"driver\": \"pass\", \"file\": {\"driver\": \"memory-overlay\"}}");
      EXPECT_EQ(pass.parents(), std::vector<NodeId>{chain.nodes[1]});
      EXPECT_FALSE(pass.has_attachment());
      EXPECT_EQ(pass.Filtered()->name(), "n0");
      EXPECT_EQ(top.Backing()->Backing()->name(), "pass");
      EXPECT_TRUE(view.Resolve(chain.nodes[0])->is_read_only());
    });
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ViewTest, ANodeIsShownOnlyByWhoeverAloneLinksToItAndOwnersSeeNothing) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, true));
    const auto is_shown_only = [&](const GraphReader& view, size_t below, size_t above) {
      return view.Resolve(chain.nodes[below])->IsShownOnlyBy(*view.Resolve(chain.nodes[above]));
    };
    Look([&](const GraphReader& view) {
      EXPECT_TRUE(is_shown_only(view, 0, 1));
      EXPECT_TRUE(is_shown_only(view, 1, 2));
      EXPECT_FALSE(is_shown_only(view, 0, 2)) << "not its parent";
      EXPECT_FALSE(is_shown_only(view, 2, 1)) << "a guest sees it";
    });
    AttachmentOptions reader;
    reader.holder = me_;
    reader.permissions = {kConsistentRead, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(Attachment user, Attachment::Attach(*graph_, chain.nodes[0], reader));
    Look([&](const GraphReader& view) {
      EXPECT_FALSE(is_shown_only(view, 0, 1));
      EXPECT_TRUE(is_shown_only(view, 1, 2));
    });
    user.CoDetach();
    chain.monitor.clear();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ViewTest, NodesAreListedInOrderOfCreation) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[0], me_));
    std::vector<NodeId> wanted = chain.nodes;
    wanted.push_back(filter);
    Look([&](const GraphReader& view) { EXPECT_EQ(view.Nodes(), wanted); });
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ViewTest, AStaleIdNeverFindsAnotherNode) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    std::vector<NodeId> seen;
    for (int round = 0; round < 3; ++round) {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
      for (NodeId stale : seen) {
        Look([&](const GraphReader& view) {
          const absl::Status refused = view.Resolve(stale).status();
          EXPECT_EQ(ConflictOf(refused)->reason, ConflictReason::kStaleNode);
          EXPECT_FALSE(ConflictOf(refused)->holders.empty());
        });
      }
      seen.insert(seen.end(), chain.nodes.begin(), chain.nodes.end());
      chain.guest.CoDetach();
    }
    Look([&](const GraphReader& view) {
      ExpectConflict(view.Resolve(NodeId()).status(), ConflictReason::kStaleNode,
                     NodeId().ToString());
    });
    return absl::OkStatus();
  });
}

TEST_F(ViewTest, ANameThatIsNotThereIsUnknown) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Look([&](const GraphReader& view) {
      const absl::Status refused = view.FindDeviceOrNode("nobody").status();
      EXPECT_TRUE(absl::IsNotFound(refused));
      EXPECT_EQ(ConflictOf(refused)->reason, ConflictReason::kUnknownNode);
    });
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::view_test
