#include "examples/hypervisor/block/node_list_text.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "examples/hypervisor/block/image_queries.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_transaction.h"
#include "millrace/graph/graph_view.h"
#include "tests/support/graph_fixture.h"

namespace millrace::node_list_text_test {
namespace {

class NodeListTextTest : public GraphFixture {
 protected:
  // The text is that of the values, in both orders and styles.
  void ExpectSameAsValues() MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    std::vector<NodeId> ids = view.Nodes();
    for (int order = 0; order < 2; ++order) {
      std::reverse(ids.begin(), ids.end());
      for (const bool flat : {false, true}) {
        const UserBitmaps bitmaps;
        ImageQueries images(view, bitmaps);
        json::array values;
        for (NodeId id : ids) {
          values.push_back(images.DescribeNode(*view.Resolve(id), {.flat = flat}));
        }
        EXPECT_EQ(DescribeNodesAsText(view, bitmaps, ids, flat).ToString(),
                  FormatJson(values, JsonLayout::kLine));
      }
    }
  }

  // A second overlay of `backing`.
  absl::StatusOr<Attachment> AddFork(NodeId backing, const std::string& name) MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    const NodeId fork = AddOverlay(change, name);
    change.SetBacking(fork, backing, std::nullopt);
    Attachment hold = change.Attach(fork, Keep(MakeHolder("me", "test")));
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    return hold;
  }
};

TEST_F(NodeListTextTest, OfNoNodesIsAnEmptyList) {
  Run([&]() MILLRACE_MAY_SUSPEND {
    ExpectSameAsValues();
    return absl::OkStatus();
  });
}

TEST_F(NodeListTextTest, OfAChainWithAFilterInItIsThatOfTheValues) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MemoryChainOptions options;
    options.layers = 6;
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, options, false));
    ExpectSameAsValues();
    MILLRACE_RETURN_IF_ERROR(
        CoInsertPass("pass", chain.nodes[3], MakeHolder("me", "test")).status());
    ExpectSameAsValues();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(NodeListTextTest, OfChainsThatShareImagesIsThatOfTheValues) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MemoryChainOptions options;
    options.layers = 5;
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, options, false));
    std::vector<Attachment> holds;
    for (const size_t layer : {size_t{2}, size_t{0}}) {
      MILLRACE_ASSIGN_OR_RETURN(Attachment hold,
                                AddFork(chain.nodes[layer], StrCat("fork", layer)));
      holds.push_back(std::move(hold));
      ExpectSameAsValues();
    }
    for (Attachment& hold : holds) hold.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::node_list_text_test
