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
  absl::Status CoOpenFilter() override MILLRACE_MAY_SUSPEND {
    if (where_ == Where::kOpen) throw std::runtime_error("the driver's own mistake");
    return absl::OkStatus();
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

// Its errors have no text.
class Mute final : public FilterDriver {
 public:
  std::string_view driver_name() const override { return "mute"; }
  absl::Status CoRead(uint64_t, const IoVector&) override MILLRACE_MAY_SUSPEND { return kError; }
  absl::Status CoWrite(uint64_t, const IoVector&, WriteFlags) override MILLRACE_MAY_SUSPEND {
    return kError;
  }
  absl::Status CoWriteZeroes(ByteRange, ZeroFlags) override MILLRACE_MAY_SUSPEND { return kError; }
  absl::Status CoDiscard(ByteRange) override MILLRACE_MAY_SUSPEND { return kError; }
  absl::Status CoFlush() override MILLRACE_MAY_SUSPEND { return kError; }
  absl::Status CoResize(uint64_t) override MILLRACE_MAY_SUSPEND { return kError; }

 private:
  const absl::Status kError = absl::PermissionDeniedError("");
};

TEST(DriverAnswer, AnErrorWithoutATextIsToldByDriverAndNode) {
  const auto engine = SimulatedEngine();
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Graph graph(*engine);
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(graph, {}, false));
    Attachment user;
    NodeId filter;
    {
      GraphTransaction change(graph);
      filter = change.AddNode(std::make_unique<Mute>(), {.name = "m"});
      change.AddChild(filter, Role::kFiltered, chain.top());
      change.Detach(chain.guest);
      user = change.Attach(filter,
                           {.holder = MakeHolder("me", "test"),
                            .permissions = {kConsistentRead | kWrite | kResize, kAllPermissions}});
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, filter));
    char byte = 0;
    const IoVector one(&byte, 1);
    for (const absl::Status& answer :
         {user.CoRead(0, one), user.CoWrite(0, one), user.CoWriteZeroes(ByteRange(0, 1)),
          user.CoDiscard(ByteRange(0, 1)), user.CoFlush(), user.CoResize(user.bytes() + 512)}) {
      EXPECT_TRUE(absl::IsPermissionDenied(answer)) << answer;
      EXPECT_EQ(answer.message(),
                "driver 'mute' of node 'm' has failed and does not say how: PERMISSION_DENIED");
    }
    user.CoDetach();
    graph.CoClose();
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::OkStatus());
}

}  // namespace
}  // namespace millrace::driver_exception_test
