// The names of nodes as clients see them.
#include "millrace/graph/file_name.h"

#include <string>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/graph_view.h"
#include "tests/support/graph_fixture.h"

namespace millrace::file_name_test {
namespace {

TEST(JsonObjectLikeQemu, OrdersMembersByTheBucketsOfQemusDictionary) {
  // As QEMU 7.2 prints them, whatever order they came in.
  EXPECT_EQ(JsonObjectLikeQemu({{"driver", "1"}, {"file", "2"}, {"backing", "3"}}),
            R"({"backing": 3, "driver": 1, "file": 2})");
  EXPECT_EQ(
      JsonObjectLikeQemu({{"size", "1024"}, {"file", "{}"}, {"offset", "512"}, {"driver", "1"}}),
      R"({"offset": 512, "driver": 1, "size": 1024, "file": {}})");
  EXPECT_EQ(JsonObjectLikeQemu({{"driver", "1"}, {"throttle-group", "2"}, {"file", "3"}}),
            R"({"throttle-group": 2, "driver": 1, "file": 3})");
  EXPECT_EQ(JsonObjectLikeQemu({}), "{}");
}

class FileNameTest : public GraphFixture {
 protected:
  template <typename Ask>
  void Look(Ask&& ask) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    ask(view);
  }

  const HolderRef me_ = MakeHolder("me", "test");
};

TEST_F(FileNameTest, AnImplicitFilterIsCalledWhatItShows) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[0], me_));
    Look([&](const GraphReader& view) {
      FileNames names(view);
      EXPECT_EQ(names.Of(*view.Resolve(chain.nodes[0])).shown, "img-0");
      // Named by its user: it has no name but its options.
      EXPECT_EQ(names.Of(*view.Resolve(filter)).shown.substr(0, 5), "json:");
      EXPECT_TRUE(names.Of(*view.Resolve(filter)).exact.empty());
    });
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(FileNameTest, AFilterBelowMakesTheBackingAnotherOneUnlessFiltersAreLookedPast) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[0], me_));
    EXPECT_TRUE(filter.is_valid());
    Look([&](const GraphReader& view) {
      const NodeView overlay = *view.Resolve(chain.nodes[1]);
      EXPECT_TRUE(FileNames(view).IsBackingOverridden(overlay));
      EXPECT_FALSE(FileNames(view, FileNames::Backing::kPastFilters).IsBackingOverridden(overlay));
      EXPECT_FALSE(FileNames(view).IsBackingOverridden(*view.Resolve(chain.nodes[2])));
    });
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::file_name_test
