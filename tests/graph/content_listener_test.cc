// Who is told that what a node shows may be another, after an edit below it.
#include "millrace/graph/content_listener.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/drivers/memory.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"

namespace millrace::content_listener_test {
namespace {

// Takes down what it is told: "all", or "512+1024".
class Told final : public ContentListener {
 public:
  std::string Take() { return std::exchange(told_, {}); }

 private:
  void OnContentChange(ByteRange range) override {
    if (!told_.empty()) told_ += ' ';
    const bool is_all = range == ByteRange(0, kBytesMax);
    told_ += is_all ? "all" : std::to_string(range.offset) + '+' + std::to_string(range.bytes);
  }

  std::string told_;
};

class ContentListenerTest : public GraphFixture {
 protected:
  // A link that is to lead elsewhere, or to nothing.
  struct Backing {
    NodeId overlay;
    std::optional<NodeId> below;
  };
  absl::Status SetBackings(const DrainedSection& drained, const std::vector<Backing>& backings,
                           bool shows_the_same) MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    change.Show(drained).OnBehalfOf(me_);
    if (shows_the_same) change.ShowsTheSame();
    for (const Backing& each : backings) {
      change.SetBacking(each.overlay, each.below, std::nullopt);
    }
    return change.Commit().status();
  }
  absl::Status CoSetBackings(const MemoryChain& chain, const std::vector<Backing>& backings,
                             bool shows_the_same = false) MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, chain.nodes, {me_}));
    return SetBackings(drained, backings, shows_the_same);
  }
  static void CoGo(MemoryChain& chain) MILLRACE_MAY_SUSPEND {
    chain.monitor.clear();
    chain.guest.CoDetach();
  }

  const HolderRef me_ = MakeHolder("me", "test");
};

constexpr ContentListener::Depth kChain = ContentListener::Depth::kChain;

TEST_F(ContentListenerTest, AnImageThatIsTakenOutOrPutInOrMovedMayHaveShownSomething) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 4}, true));
    const std::vector<NodeId>& n = chain.nodes;
    Told told;
    MILLRACE_RETURN_IF_ERROR(told.ListenTo(*graph_, chain.top(), kChain));
    EXPECT_EQ(told.Take(), "");
    MILLRACE_RETURN_IF_ERROR(CoSetBackings(chain, {{n[3], n[1]}}));
    EXPECT_EQ(told.Take(), "all") << "one between";
    MILLRACE_RETURN_IF_ERROR(CoSetBackings(chain, {{n[1], std::nullopt}}));
    EXPECT_EQ(told.Take(), "all") << "the lowest";
    MILLRACE_RETURN_IF_ERROR(CoSetBackings(chain, {{n[1], n[0]}}));
    EXPECT_EQ(told.Take(), "all") << "a new one";
    MILLRACE_RETURN_IF_ERROR(
        CoSetBackings(chain, {{n[3], n[0]}, {n[1], std::nullopt}, {n[0], n[1]}}));
    EXPECT_EQ(told.Take(), "all") << "the same ones in another order";
    MILLRACE_RETURN_IF_ERROR(CoSetBackings(chain, {{n[2], std::nullopt}}));
    EXPECT_EQ(told.Take(), "") << "elsewhere";
    CoGo(chain);
    return absl::OkStatus();
  });
}

TEST_F(ContentListenerTest, WhatIsTakenOutAfterItWasCopiedIsNothingToTellButWhatComesIs) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 3}, true));
    const std::vector<NodeId>& n = chain.nodes;
    Told told;
    MILLRACE_RETURN_IF_ERROR(told.ListenTo(*graph_, chain.top(), kChain));
    MILLRACE_RETURN_IF_ERROR(CoSetBackings(chain, {{n[2], n[0]}}, /*shows_the_same=*/true));
    EXPECT_EQ(told.Take(), "");
    EXPECT_EQ(told.places(), std::vector<NodeId>({n[2], n[0]}));
    MILLRACE_RETURN_IF_ERROR(CoSetBackings(chain, {{n[2], n[1]}}, /*shows_the_same=*/true));
    EXPECT_EQ(told.Take(), "all");
    CoGo(chain);
    return absl::OkStatus();
  });
}

TEST_F(ContentListenerTest, AFilterThatComesOrGoesShowsNothingOfItsOwn) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 2}, true));
    Told told;
    MILLRACE_RETURN_IF_ERROR(told.ListenTo(*graph_, chain.top(), kChain));
    MILLRACE_ASSIGN_OR_RETURN(const NodeId filter, CoInsertPass("pass", chain.nodes[0], me_));
    EXPECT_EQ(told.places(), std::vector<NodeId>({chain.top(), filter, chain.nodes[0]}));
    MILLRACE_RETURN_IF_ERROR(CoRemovePass(filter, me_));
    EXPECT_EQ(told.places(), std::vector<NodeId>({chain.top(), chain.nodes[0]}));
    EXPECT_EQ(told.Take(), "");
    CoGo(chain);
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::content_listener_test
