// The checker of G7 itself: each way to break the invariant must be found, or tests that check it
// after every step would prove nothing.
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/attachment_core.h"
#include "millrace/graph/drain_core.h"
#include "millrace/graph/graph_internals.h"
#include "tests/support/graph_fixture.h"

namespace millrace {
namespace {

// A job that may be told to go on although it was asked to rest.
class Disobedient final : public Quiescable {
 public:
  void BeginQuiesce() override {}
  void EndQuiesce() override {}
  bool is_quiet() const override { return is_quiet_; }
  std::string DescribeQuiescable() const override { return "disobedient job"; }
  void EnterQuietWait() override {}
  void CoLeaveQuietWait() override MILLRACE_MAY_SUSPEND {}
  void OnSectionGranted() override {}
  void OnSectionEnded() override {}

  void GoOn() { is_quiet_ = false; }
  void Rest() { is_quiet_ = true; }

 private:
  bool is_quiet_ = true;
};

class InvariantsTest : public GraphFixture {
 protected:
  void ExpectBroken(std::string_view what, int line = __builtin_LINE()) {
    const absl::Status status = graph_->CheckInvariants();
    EXPECT_NE(status.message().find(std::string(what)), std::string::npos)
        << "line " << line << ": " << status;
  }
  void ExpectHeld(int line = __builtin_LINE()) {
    const absl::Status status = graph_->CheckInvariants();
    EXPECT_TRUE(status.ok()) << "line " << line << ": " << status;
  }
  Node& At(NodeId id) { return *GraphInternals::Of(*graph_).Resolve(id); }

  const HolderRef me_ = MakeHolder("me", "test");
  const HolderRef other_ = MakeHolder("other", "test");
};

TEST_F(InvariantsTest, ARequestOfAnOutsiderInsideASectionIsFound) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection owned,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    ExpectHeld();
    {
      const AttachmentUse use(*AttachmentAccess::Core(chain.guest));
      ExpectBroken("block device 'drive0' has a request in flight");
    }
    owned.End();
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection nobodys,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {}));
    {
      const InFlightRequest request(At(chain.nodes[1]));
      ExpectBroken("'n1': a request is in flight through a drained node");
    }
    nobodys.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, AJobThatGoesOnInsideAForeignSectionIsFound) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    Disobedient job;
    const HolderRef holder = MakeHolder("bad", "test job", 0, &job);
    MILLRACE_ASSIGN_OR_RETURN(Attachment work,
                              Attachment::Attach(*graph_, chain.nodes[1], Keep(holder)));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    job.GoOn();
    ExpectBroken("test job 'bad' goes on");
    job.Rest();
    ExpectHeld();
    drained.End();
    // Its own section does not concern it.
    MILLRACE_ASSIGN_OR_RETURN(drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {holder}));
    job.GoOn();
    ExpectHeld();
    job.Rest();
    drained.End();
    work.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(InvariantsTest, ACoverWithAGapAndTwoOwnersAtOnceAreFound) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.nodes[0]}, {me_}));
    Node& top = At(chain.top());
    std::vector<SectionCore*> none;
    std::swap(top.sections, none);
    ExpectBroken("does not cover a parent");
    std::swap(top.sections, none);
    AttachmentCore& guest = *AttachmentAccess::Core(chain.guest);
    ++guest.quiesce_count;
    ExpectBroken("does not count the sections");
    --guest.quiesce_count;
    SectionCore second(*graph_);
    second.owners = {other_};
    second.covered = {&top};
    second.attachments = {&guest};
    second.is_granted = true;
    top.sections.push_back(&second);
    guest.sections.push_back(&second);
    ++guest.quiesce_count;
    ExpectBroken("drained for two owners at once");
    top.sections.pop_back();
    guest.sections.pop_back();
    --guest.quiesce_count;
    ExpectHeld();
    drained.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace
