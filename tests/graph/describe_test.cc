#include "millrace/graph/describe.h"

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/operation_claim.h"
#include "tests/support/graph_fixture.h"

namespace millrace::describe_test {
namespace {

class DescribeTest : public GraphFixture {
 protected:
  // One read-only node below a drained, leased and claimed one.
  absl::Status CoDraw() MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(
        MemoryChain chain,
        CoMakeMemoryChain(*graph_, {.layers = 2, .bytes = 1024, .is_read_only = true}, false));
    MILLRACE_ASSIGN_OR_RETURN(NodeId filter, CoInsertPass("pass", chain.nodes[0], job_));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.top(), filter));
    const OperationClaim all(*graph_, chain.top(), OperationSet::All(), job_);
    const OperationClaim one(*graph_, filter, OperationSet().With(Operation::kResize), job_);
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {job_}));
    Draw(chain);
    drained.End();
    lease.Release();
    chain.guest.CoDetach();
    return absl::OkStatus();
  }
  absl::StatusOr<FrozenChain> Freeze(NodeId top, NodeId last) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return FrozenChain::Freeze(view, top, last, job_);
  }
  GraphPicture Picture() MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    return DescribePicture(view);
  }
  void Draw(const MemoryChain& chain) MILLRACE_OPENS_VIEW {
    GraphView view(*graph_);
    chain_ = DescribeChain(*view.Resolve(chain.guest.node()));
    text_ = DescribeText(view);
    dot_ = DescribeDot(view);
    json_ = DescribeJson(view);
  }

  const HolderRef job_ = MakeHolder("stream0", "stream job", 7);
  std::string chain_, text_, dot_, json_;
};

TEST_F(DescribeTest, TheChainReadsFromTheTopWithFiltersInBrackets) {
  Run([&]() MILLRACE_MAY_SUSPEND { return CoDraw(); });
  EXPECT_EQ(chain_, "n1 <- [pass] <- n0");
}

TEST_F(DescribeTest, TheTextNamesEveryUserLeaseClaimAndSection) {
  Run([&]() MILLRACE_MAY_SUSPEND { return CoDraw(); });
  EXPECT_EQ(text_,
            "n0: memory-overlay, 1024 bytes, read-only\n"
            "n1: memory-overlay, 1024 bytes, drained\n"
            "  used by block device 'drive0' as root (device 'drive0'): "
            "uses consistent read, write; shares consistent read, write unchanged, resize\n"
            "  backing -> pass: uses consistent read; shares consistent read, write unchanged; "
            "leased by stream job 'stream0'\n"
            "  claimed by stream job 'stream0': all operations\n"
            "pass: pass, 1024 bytes\n"
            "  file -> n0: uses consistent read; shares consistent read, write unchanged\n"
            "  claimed by stream job 'stream0': resize\n"
            "drained on n1 by stream job 'stream0': 1 nodes\n");
}

TEST_F(DescribeTest, TheDrawingIsValidDotAndNamesEveryLink) {
  Run([&]() MILLRACE_MAY_SUSPEND { return CoDraw(); });
  EXPECT_EQ(dot_,
            "digraph millrace {\n"
            "  \"n0\" [shape=box, label=\"n0 (memory-overlay)\"];\n"
            "  \"n1\" [shape=box, label=\"n1 (memory-overlay), drained by stream job 'stream0', "
            "claimed by stream job 'stream0'\", color=grey, fontcolor=grey];\n"
            "  user0 [shape=ellipse, label=\"block device 'drive0'\"];\n"
            "  user0 -> \"n1\" [label=\"root\"];\n"
            "  \"n1\" -> \"pass\" [label=\"backing, leased by stream job 'stream0'\", "
            "style=bold];\n"
            "  \"pass\" [shape=box, label=\"pass (pass), claimed by stream job 'stream0'\", "
            "style=dashed];\n"
            "  \"pass\" -> \"n0\" [label=\"file\"];\n"
            "  span0 [shape=box, style=rounded, label=\"stream job 'stream0'\"];\n"
            "  span0 -> \"n1\" [style=dotted, dir=none, constraint=false];\n"
            "  span0 -> \"pass\" [style=dotted, dir=none, constraint=false];\n"
            "}\n");
}

TEST_F(DescribeTest, TheDataAreComplete) {
  Run([&]() MILLRACE_MAY_SUSPEND { return CoDraw(); });
  // What is in the drawing is tested above; here, that every kind of fact is there.
  for (const char* part :
       {R"("name": "n0", "driver": "memory-overlay", "kind": "format", "bytes": 1024, )"
        R"("filename": "img-0", "read-only": true, "implicit": false, "drained": false, )"
        R"("state": "", "requests": 0, "users": [], "edges": [], "claims": [])",
        R"("users": [{"holder": {"id": "drive0", "type": "block device", "since": 0}, )"
        R"("purpose": "root", "device": "drive0", "stays": false, "in-flight": 0, "queued": 0, )"
        R"("used": ["consistent read", "write"], )"
        R"("shared": ["consistent read", "write unchanged", "resize"]}])",
        R"("lease": {"id": "stream0", "type": "stream job", "since": 7})",
        R"("operations": ["resize"])",
        R"("sections": [{"id": 2, "granted": true, "roots": ["n1"], )"
        R"("owners": [{"id": "stream0", "type": "stream job", "since": 7}], )"
        R"("covers": ["n1"], "since": 0, "waits-for": ""}])"}) {
    EXPECT_NE(json_.find(part), std::string::npos) << part << "\nin " << json_;
  }
}

TEST_F(DescribeTest, ADrainOfANodeThatIsGoneStillNamesIt) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 2}, false));
    MILLRACE_ASSIGN_OR_RETURN(
        Attachment keeper,
        Attachment::Attach(*graph_, chain.nodes[0],
                           {.holder = job_, .purpose = "keeper", .queues_requests = false}));
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(*graph_, {chain.nodes[0], chain.nodes[1]}, {job_}));
    MILLRACE_RETURN_IF_ERROR(chain.guest.Detach().status());
    {
      GraphView view(*graph_);
      text_ = DescribeText(view);
    }
    drained.End();
    keeper.CoDetach();
    return absl::OkStatus();
  });
  EXPECT_NE(text_.find("drained on n0 (n1, gone) by"), std::string::npos) << text_;
}

TEST_F(DescribeTest, ThePictureHasOneVertexPerNodeDeviceAndHolder) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 2}, false));
    MILLRACE_ASSIGN_OR_RETURN(Attachment main,
                              Attachment::Attach(*graph_, chain.nodes[1], Keep(job_, "main node")));
    MILLRACE_ASSIGN_OR_RETURN(Attachment low,
                              Attachment::Attach(*graph_, chain.nodes[0], Keep(job_, "base")));
    MILLRACE_ASSIGN_OR_RETURN(FrozenChain lease, Freeze(chain.nodes[1], chain.nodes[0]));
    const GraphPicture picture = Picture();
    std::string text;
    for (const GraphPicture::Vertex& each : picture.vertices) {
      text += StrCat(each.id, each.is_node ? " node " : " user ", each.name, " ", each.type, "\n");
    }
    for (const GraphPicture::Arrow& each : picture.arrows) {
      text += StrCat(each.parent, " -", each.name, "-> ", each.child, " ",
                     each.permissions.used.ToString(),
                     each.lessee == nullptr ? "" : "; leased by " + each.lessee->id, "\n");
    }
    EXPECT_EQ(text,
              "1 node n0 memory-overlay\n"
              "2 user stream0 stream job\n"
              "3 node n1 memory-overlay\n"
              "4 user drive0 block device\n"
              "2 -base-> 1 \n"
              "4 -root-> 3 consistent read, write\n"
              "2 -main node-> 3 \n"
              "3 -backing-> 1 consistent read; leased by stream0\n");
    lease.Release();
    low.CoDetach();
    main.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(DescribeTest, EqualGraphsGiveEqualTexts) {
  Run([&]() MILLRACE_MAY_SUSPEND { return CoDraw(); });
  const std::string text = text_;
  const std::string dot = dot_;
  Run([&]() MILLRACE_MAY_SUSPEND { return CoDraw(); });
  EXPECT_EQ(text_, text);
  EXPECT_EQ(dot_, dot);
}

TEST_F(DescribeTest, ADryRunShowsTheGraphAsItWouldBe) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    std::string promised;
    std::string actual;
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {job_}));
    {
      GraphTransaction change(*graph_);
      change.Show(drained).OnBehalfOf(job_);
      const NodeId filter = change.AddNode(std::make_unique<PassFilter>(), {.name = "pass"});
      change.InsertFilter(filter, chain.nodes[0]);
      EXPECT_EQ(DescribeChain(*change.Resolve(chain.top())), "n2 <- n1 <- [pass] <- n0");
      EXPECT_EQ(ConflictOf(change.Validate())->reason, ConflictReason::kNotDrained);
    }
    EXPECT_EQ(chain.Shape(*graph_), "n2 <- n1 <- n0");
    {
      GraphTransaction change(*graph_);
      change.Show(drained).SetBacking(chain.nodes[2], chain.nodes[0], std::nullopt);
      MILLRACE_RETURN_IF_ERROR(change.Validate());
      promised = DescribeText(change);
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
      actual = DescribeText(change);
    }
    EXPECT_EQ(promised, actual);
    EXPECT_EQ(promised.find("n1"), std::string::npos) << promised;
    drained.End();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::describe_test
