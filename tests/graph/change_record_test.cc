// What was written to a node while a record was kept.
#include "millrace/graph/change_record.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/graph/drain.h"
#include "millrace/graph/drivers/file.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"

namespace millrace::change_record_test {
namespace {

constexpr uint64_t kGranule = 512;

class ChangeRecordTest : public GraphFixture {
 protected:
  // The guest's node is replaced by the image that it stands on.
  absl::Status CoTakeTopAway(const MemoryChain& chain, const HolderRef& holder)
      MILLRACE_MAY_SUSPEND {
    MILLRACE_ASSIGN_OR_RETURN(DrainedSection drained,
                              DrainedSection::CoBegin(*graph_, {chain.top()}, {holder}));
    return TakeTopAway(chain, holder, drained);
  }

 private:
  absl::Status TakeTopAway(const MemoryChain& chain, const HolderRef& holder,
                           const DrainedSection& drained) MILLRACE_OPENS_VIEW {
    GraphTransaction change(*graph_);
    change.OnBehalfOf(holder).Show(drained);
    change.SetBacking(chain.nodes[1], std::nullopt, std::nullopt);
    change.ReplaceNode(chain.nodes[1], chain.nodes[0]);
    return change.Commit().status();
  }
};

// The dirty areas: "0+512 2048+1024".
std::string Areas(const ChangeRecord& record) {
  std::string areas;
  const DirtyBitmap& bitmap = record.bitmap();
  for (uint64_t at = 0; at < bitmap.bytes();) {
    const std::optional<ByteRange> area = bitmap.NextDirty(at, bitmap.bytes());
    if (!area) break;
    if (!areas.empty()) areas += ' ';
    areas += std::to_string(area->offset) + '+' + std::to_string(area->bytes);
    at = area->end();
  }
  return areas;
}

absl::Status CoPut(Attachment& guest, uint64_t offset, size_t bytes) MILLRACE_MAY_SUSPEND {
  const std::string data(bytes, 'x');
  return guest.CoWrite(offset, IoVector::OfConst(data.data(), data.size()));
}

TEST_F(ChangeRecordTest, NotesWritesZeroWritesAndDiscardsOfItsNodeOnly) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 2}, false));
    MILLRACE_ASSIGN_OR_RETURN(const auto top, ChangeRecord::Start(*graph_, chain.top(), kGranule));
    MILLRACE_ASSIGN_OR_RETURN(const auto coarse,
                              ChangeRecord::Start(*graph_, chain.top(), 4 * kGranule));
    MILLRACE_ASSIGN_OR_RETURN(const auto below,
                              ChangeRecord::Start(*graph_, chain.nodes[0], kGranule));
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 10, 1));
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoWriteZeroes(ByteRange(4 * kGranule, kGranule), {}));
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoDiscard(ByteRange(6 * kGranule, kGranule)));
    EXPECT_EQ(Areas(*top), "0+512 2048+512 3072+512");
    EXPECT_EQ(Areas(*coarse), "0+4096");
    EXPECT_EQ(Areas(*below), "");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ChangeRecordTest, NotesWhatIsWrittenInManyPartsAtOnce) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, false));
    MILLRACE_ASSIGN_OR_RETURN(const auto record,
                              ChangeRecord::Start(*graph_, chain.top(), kGranule));
    const std::vector<ByteRange> parts = {ByteRange(0, kGranule),
                                          ByteRange(8 * kGranule, 2 * kGranule)};
    const std::string data(3 * kGranule, 'x');
    MILLRACE_RETURN_IF_ERROR(
        chain.guest.CoWriteParts(parts, IoVector::OfConst(data.data(), data.size()), {}));
    EXPECT_EQ(Areas(*record), "0+512 4096+1024");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ChangeRecordTest, RestsWhileItDoesNotRecord) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, false));
    MILLRACE_ASSIGN_OR_RETURN(const auto record,
                              ChangeRecord::Start(*graph_, chain.top(), kGranule));
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 0, 1));
    record->SetRecording(false);
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, kGranule, 1));
    record->SetRecording(true);
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 2 * kGranule, 1));
    EXPECT_EQ(Areas(*record), "0+512 1024+512");
    record->Clear();
    EXPECT_EQ(Areas(*record), "");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ChangeRecordTest, FollowsTheLengthOfItsNode) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, false));
    const uint64_t bytes = chain.guest.bytes();
    MILLRACE_ASSIGN_OR_RETURN(const auto record,
                              ChangeRecord::Start(*graph_, chain.top(), kGranule));
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, bytes - 1, 1));
    AttachmentOptions options = Keep(MakeHolder("monitor", "monitor"));
    options.permissions = {kResize, kAllPermissions};
    MILLRACE_ASSIGN_OR_RETURN(Attachment resizer,
                              Attachment::Attach(*graph_, chain.top(), options));
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(2 * bytes));
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 2 * bytes - 1, 1));
    EXPECT_EQ(Areas(*record), std::to_string(bytes - kGranule) + "+512 " +
                                  std::to_string(2 * bytes - kGranule) + "+512");
    MILLRACE_RETURN_IF_ERROR(resizer.CoResize(bytes));
    EXPECT_EQ(Areas(*record), std::to_string(bytes - kGranule) + "+512");
    resizer.CoDetach();
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(ChangeRecordTest, OutlivesItsNodeAndTakesOverWhatOthersNoted) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, false));
    MILLRACE_ASSIGN_OR_RETURN(const auto fine, ChangeRecord::Start(*graph_, chain.top(), kGranule));
    MILLRACE_ASSIGN_OR_RETURN(const auto coarse,
                              ChangeRecord::Start(*graph_, chain.top(), 2 * kGranule));
    coarse->SetRecording(false);
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 5 * kGranule, 1));
    EXPECT_EQ(fine->node(), chain.top());
    chain.guest.CoDetach();
    EXPECT_EQ(fine->node(), std::nullopt);
    coarse->Merge(*fine);
    EXPECT_EQ(Areas(*coarse), "2048+1024");
    coarse->Merge(*coarse);
    EXPECT_EQ(Areas(*coarse), "2048+1024");
    return absl::OkStatus();
  });
}

// Half of it may have been written.
TEST_F(ChangeRecordTest, NotesWhatFailsAsWell) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, false));
    MILLRACE_ASSIGN_OR_RETURN(const auto record,
                              ChangeRecord::Start(*graph_, chain.top(), kGranule));
    engine_->simulated_io()->Fail({.is_persistent = true});
    EXPECT_FALSE(CoPut(chain.guest, 0, 1).ok());
    EXPECT_FALSE(chain.guest.CoWriteZeroes(ByteRange(2 * kGranule, kGranule), {}).ok());
    EXPECT_FALSE(chain.guest.CoDiscard(ByteRange(4 * kGranule, kGranule)).ok());
    engine_->simulated_io()->ClearFailures();
    EXPECT_EQ(Areas(*record), "0+512 1024+512 2048+512");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// As QEMU's, whose bitmaps stay clean beside a stream.
TEST_F(ChangeRecordTest, NotesNothingThatOnlyStoresWhatIsVisibleAlready) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 2}, false));
    MILLRACE_ASSIGN_OR_RETURN(const auto record,
                              ChangeRecord::Start(*graph_, chain.top(), kGranule));
    const std::string data(kGranule, 'x');
    const IoVector memory = IoVector::OfConst(data.data(), data.size());
    const std::vector<ByteRange> ranges = {ByteRange(4 * kGranule, kGranule)};
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoWrite(0, memory, {.only_if_unallocated = true}));
    MILLRACE_RETURN_IF_ERROR(chain.guest.CoWriteZeroes(ByteRange(2 * kGranule, kGranule),
                                                       {.only_if_unallocated = true}));
    MILLRACE_RETURN_IF_ERROR(
        chain.guest.CoWriteParts(ranges, memory, {.only_if_unallocated = true}));
    EXPECT_EQ(Areas(*record), "");
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// A backup that begins inside the section takes over what was noted: a write that was acknowledged
// before must be in it.
TEST_F(ChangeRecordTest, HasNotedWhatADrainHasSeenEnd) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, false));
    MILLRACE_ASSIGN_OR_RETURN(const auto record,
                              ChangeRecord::Start(*graph_, chain.top(), kGranule));
    engine_->simulated_io()->SetLatency(kMillisecond);
    TaskScope guest("guest");
    guest.Spawn("guest", [&]() MILLRACE_MAY_SUSPEND { return CoPut(chain.guest, 0, 1); });
    CoYield();
    EXPECT_EQ(Areas(*record), "") << "noted before it has ended";
    MILLRACE_ASSIGN_OR_RETURN(
        DrainedSection drained,
        DrainedSection::CoBegin(*graph_, {chain.top()}, {MakeHolder("backup", "test")}));
    EXPECT_EQ(Areas(*record), "0+512");
    drained.End();
    MILLRACE_RETURN_IF_ERROR(guest.CoJoin());
    chain.guest.CoDetach();
    return absl::OkStatus();
  });
}

// Read-only and writable again, a filter above it, another image on top: the record belongs to the
// node, and not to who writes to it.
TEST_F(ChangeRecordTest, StaysWithItsNodeThroughReopeningAndEdits) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    const HolderRef me = MakeHolder("me", "test");
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 2}, true));
    MILLRACE_ASSIGN_OR_RETURN(const auto top, ChangeRecord::Start(*graph_, chain.top(), kGranule));
    MILLRACE_ASSIGN_OR_RETURN(const auto below,
                              ChangeRecord::Start(*graph_, chain.nodes[0], kGranule));
    for (const bool is_read_only : {true, false}) {
      MILLRACE_RETURN_IF_ERROR(CoSetReadOnly(*graph_, chain.nodes[0], is_read_only, me));
    }
    MILLRACE_ASSIGN_OR_RETURN(const NodeId filter, CoInsertPass("pass", chain.top(), me));
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 0, 1));
    EXPECT_EQ(Areas(*top), "0+512") << "written through the filter";
    MILLRACE_RETURN_IF_ERROR(CoRemovePass(filter, me));
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 2 * kGranule, 1));
    EXPECT_EQ(Areas(*top), "0+512 1024+512");
    EXPECT_EQ(Areas(*below), "");
    // The guest writes to the image below from now on.
    MILLRACE_RETURN_IF_ERROR(CoTakeTopAway(chain, me));
    MILLRACE_RETURN_IF_ERROR(CoPut(chain.guest, 4 * kGranule, 1));
    EXPECT_EQ(Areas(*top), "0+512 1024+512");
    EXPECT_EQ(Areas(*below), "2048+512");
    EXPECT_EQ(below->node(), chain.nodes[0]);
    chain.guest.CoDetach();
    chain.monitor.clear();
    return absl::OkStatus();
  });
}

TEST_F(ChangeRecordTest, IsRefusedOverANodeThatIsGone) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {.layers = 1}, false));
    const NodeId gone = chain.top();
    chain.guest.CoDetach();
    EXPECT_EQ(ChangeRecord::Start(*graph_, gone, kGranule).status().code(),
              absl::StatusCode::kFailedPrecondition);
    return absl::OkStatus();
  });
}

// "raw <- file", on a file of the simulated host.
absl::StatusOr<Attachment> CoOpenRawFile(Graph& graph, const std::string& path)
    MILLRACE_MAY_SUSPEND {
  Attachment user;
  NodeId file;
  {
    GraphTransaction change(graph);
    file = change.AddNode(MakeFileDriver({.path = path}), {.name = path});
    const NodeId raw = change.AddNode(MakeRawDriver(), {.name = path + "-raw"});
    change.AddChild(raw, Role::kPrimary, file);
    AttachmentOptions options;
    options.holder = MakeHolder(path, "user");
    options.permissions = {kConsistentRead | kWrite, kAllPermissions};
    user = change.Attach(raw, options);
    MILLRACE_RETURN_IF_ERROR(change.Commit().status());
  }
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, file));
  MILLRACE_RETURN_IF_ERROR(CoOpenNode(graph, user.node()));
  return user;
}

// Some of it may have been copied before the host would not.
TEST_F(ChangeRecordTest, NotesWhatTheHostWasToCopyAndDidNot) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    SimulatedIo& io = *engine_->simulated_io();
    io.disk().Put("from", std::string(8 * kGranule, 'f'));
    io.disk().Put("to", std::string(8 * kGranule, 't'));
    MILLRACE_ASSIGN_OR_RETURN(Attachment from, CoOpenRawFile(*graph_, "from"));
    MILLRACE_ASSIGN_OR_RETURN(Attachment to, CoOpenRawFile(*graph_, "to"));
    MILLRACE_ASSIGN_OR_RETURN(const auto record, ChangeRecord::Start(*graph_, to.node(), kGranule));
    io.Fail({.operation = SimulatedOperation::kCopyRange, .is_after_effect = true});
    ChainPart part;
    part.range = ByteRange(2 * kGranule, 3 * kGranule);
    std::string memory(3 * kGranule, '?');
    EXPECT_FALSE(from.CoTryShareParts({&part, 1}, to, IoVector(memory.data(), memory.size())));
    EXPECT_EQ(io.failed(), 1u);
    EXPECT_EQ(Areas(*record), "1024+1536");
    from.CoDetach();
    to.CoDetach();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::change_record_test
