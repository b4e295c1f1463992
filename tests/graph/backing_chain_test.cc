#include "millrace/graph/backing_chain.h"

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/describe.h"
#include "millrace/graph/graph_transaction.h"
#include "tests/support/graph_fixture.h"

namespace millrace::backing_chain_test {
namespace {

// "[high] <- n2 <- [two] <- [one] <- n1 <- n0": filters on top, and two between.
class BackingChainTest : public GraphFixture {
 protected:
  template <typename Ask>
  void RunOnChain(Ask&& ask) {
    Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
      for (const auto& [name, below] : {std::pair("one", 1), {"two", -1}, {"high", 2}}) {
        const NodeId at = below < 0 ? Find("one") : chain.nodes[static_cast<size_t>(below)];
        MILLRACE_RETURN_IF_ERROR(CoInsertPass(name, at, me_).status());
      }
      EXPECT_EQ(chain.Shape(*graph_), "[high] <- n2 <- [two] <- [one] <- n1 <- n0");
      AskInView(ask);
      chain.guest.CoDetach();
      return absl::OkStatus();
    });
  }
  template <typename Ask>
  void AskInView(Ask& ask) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    ask(view);
  }
  static NodeView Named(const GraphReader& reader, std::string_view name) {
    return *reader.Find(name);
  }
  static std::string NameOf(const std::optional<NodeView>& node) {
    return node ? node->name() : "";
  }

  const HolderRef me_ = MakeHolder("me", "test");
};

TEST_F(BackingChainTest, FiltersAreSkippedDownwardsOnly) {
  RunOnChain([&](const GraphReader& view) {
    EXPECT_EQ(SkipFilters(Named(view, "high")).name(), "n2");
    EXPECT_EQ(SkipFilters(Named(view, "two")).name(), "n1");
    EXPECT_EQ(SkipFilters(Named(view, "n0")).name(), "n0");
    EXPECT_EQ(SkipImplicitFilters(Named(view, "two")).name(), "two");  // the user named it
  });
}

TEST_F(BackingChainTest, TheNextImageIsBelowAllFilters) {
  RunOnChain([&](const GraphReader& view) {
    EXPECT_EQ(NameOf(BackingChainNext(Named(view, "high"))), "n1");
    EXPECT_EQ(NameOf(BackingChainNext(Named(view, "n2"))), "n1");
    EXPECT_EQ(NameOf(BackingChainNext(Named(view, "two"))), "n0");
    EXPECT_EQ(NameOf(BackingChainNext(Named(view, "n0"))), "");
  });
}

TEST_F(BackingChainTest, AChainEndsAtTheBottomOrWhereItIsToldTo) {
  RunOnChain([&](const GraphReader& view) {
    const auto names = [&](std::string_view top, NodeId last) {
      std::string text;
      for (NodeId id : ChainFrom(Named(view, top), last)) text += view.Resolve(id)->name() + " ";
      return text;
    };
    EXPECT_EQ(names("high", NodeId()), "high n2 two one n1 n0 ");
    EXPECT_EQ(names("high", Named(view, "two").id()), "high n2 two ");
    EXPECT_EQ(names("n2", Named(view, "n2").id()), "n2 ");
    EXPECT_EQ(names("one", Named(view, "high").id()), "one n1 n0 ") << "it is not there";
  });
}

TEST_F(BackingChainTest, TheOverlayOfABaseIsTheImageThatShowsIt) {
  RunOnChain([&](const GraphReader& view) {
    const NodeView high = Named(view, "high");
    for (const char* base : {"n1", "one", "two"}) {
      EXPECT_EQ(NameOf(FindOverlay(high, Named(view, base))), "n2") << base;
    }
    EXPECT_EQ(NameOf(FindOverlay(high, Named(view, "n0"))), "n1");
    EXPECT_EQ(NameOf(FindOverlay(high, std::nullopt)), "n0");
    EXPECT_EQ(NameOf(FindOverlay(Named(view, "n2"), Named(view, "n2"))), "");
    EXPECT_EQ(NameOf(FindOverlay(Named(view, "n0"), Named(view, "n2"))), "");
  });
}

TEST_F(BackingChainTest, WalksSeeEveryNodeOnce) {
  RunOnChain([&](const GraphReader& view) {
    const NodeView high = Named(view, "high");
    const std::vector<NodeId> chain = ChainFrom(high);
    ASSERT_EQ(chain.size(), 6u);
    EXPECT_EQ(chain.front(), high.id());
    EXPECT_EQ(chain.back(), Named(view, "n0").id());
    EXPECT_TRUE(ChainContains(high, Named(view, "one")));
    EXPECT_FALSE(ChainContains(Named(view, "n1"), high));
    EXPECT_EQ(NameOf(FindDirectlyAbove(high, Named(view, "n1"))), "one");
    EXPECT_EQ(NameOf(FindDirectlyAbove(high, high)), "");
  });
}

// A plan that stands on itself, before anything has looked at it.
TEST_F(BackingChainTest, AWalkThroughACycleEnds) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    for (const size_t low : {size_t{0}, size_t{1}, size_t{2}}) {
      GraphTransaction change(*graph_);
      change.SetBacking(chain.nodes[low], chain.nodes[2], std::nullopt);
      const NodeView top = *change.Resolve(chain.nodes[2]);
      EXPECT_GE(ChainFrom(top).size(), 3 - low);
      EXPECT_NE(DescribeChain(top), "");
      EXPECT_FALSE(change.Rehearse().ok());
    }
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::backing_chain_test
