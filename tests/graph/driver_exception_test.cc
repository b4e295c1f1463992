// What an exception that should have been caught looks like to whoever let it go.
#include <memory>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "examples/scenario_kit/memory_chain.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"

namespace millrace::driver_exception_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

enum class Where : uint8_t { kOpen, kRead };

class Thrower final : public FilterDriver {
 public:
  explicit Thrower(Where where) : where_(where) {}
  std::string_view driver_name() const override { return "thrower"; }
  absl::Status CoOpen(DriverContext& context) override MILLRACE_MAY_SUSPEND {
    if (where_ == Where::kOpen) throw std::runtime_error("the driver's own mistake");
    return FilterDriver::CoOpen(context);
  }
  absl::Status CoRead(uint64_t, const IoVector&) override MILLRACE_MAY_SUSPEND {
    throw std::runtime_error("the driver's own mistake");
  }

 private:
  const Where where_;
};

NodeId AddThrower(Graph& graph, Where where, NodeId below, Attachment* user) MILLRACE_OPENS_VIEW {
  GraphTransaction change(graph);
  const NodeId filter = change.AddNode(std::make_unique<Thrower>(where), {.name = "t"});
  change.AddChild(filter, Role::kFiltered, below);
  *user = change.Attach(filter, {.holder = MakeHolder("me", "test"),
                                 .permissions = {kConsistentRead, kAllPermissions}});
  EXPECT_TRUE(change.Commit().ok());
  return filter;
}

// The graph lives on the coroutine's stack, as an embedder's may: were it unwound, its destructor
// would complain of nodes, and nobody would hear of the exception.
void UseThrower(Where where) {
  const auto engine = SimulatedEngine();
  (void)engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Graph graph(*engine);
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph, {}, false));
    Attachment user;
    const NodeId filter = AddThrower(graph, where, chain.top(), &user);
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, filter));
    char byte = 0;
    return user.CoRead(0, IoVector(&byte, 1));
  });
}

TEST(DriverExceptionDeathTest, OutOfADriverItIsNamedAndNothingElseIs) {
  const auto named = AllOf(HasSubstr("driver 'thrower' of node 't' let an exception out: the "
                                     "driver's own mistake"),
                           Not(HasSubstr("graph destroyed")));
  EXPECT_DEATH(UseThrower(Where::kRead), named);
  EXPECT_DEATH(UseThrower(Where::kOpen), named);
}

TEST(DriverExceptionDeathTest, OutOfACoroutineItsNameIsTold) {
  const auto guest_throws = [] {
    const auto engine = SimulatedEngine();
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      TaskScope scope("guests");
      scope.Spawn("vda", []() -> absl::Status { throw std::runtime_error("the guest is ill"); });
      return scope.CoJoin();
    });
  };
  EXPECT_DEATH(guest_throws(), "coroutine 'vda' let an exception out: the guest is ill; ");
}

TEST(DriverExceptionDeathTest, OutOfTheEmbeddersOwnCodeACheckSaysThatThereIsOne) {
  const auto own_code_throws = [] {
    const auto engine = SimulatedEngine();
    (void)engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
      Graph graph(*engine);
      MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph, {}, false));
      throw std::runtime_error("not the library's affair");
    });
  };
  EXPECT_DEATH(own_code_throws(), AllOf(HasSubstr("check failed"),
                                        HasSubstr("an exception is leaving the functions")));
}

}  // namespace
}  // namespace millrace::driver_exception_test
