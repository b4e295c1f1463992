#include "millrace/graph/open_tree.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/io/simulated_disk.h"
#include "millrace/engine/io/simulated_io.h"
#include "millrace/engine/scope/task_scope.h"
#include "millrace/engine/sync/sleep.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/filters/fault_injection.h"
#include "millrace/graph/graph_internals.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_node.h"
#include "tests/support/toy_images_fixture.h"

namespace millrace::open_tree_test {
namespace {

using ::testing::HasSubstr;

NodeTree Tree(std::string driver, std::string node_name = "") {
  NodeTree tree;
  tree.driver = std::move(driver);
  tree.node_name = std::move(node_name);
  return tree;
}

NodeTree Image(const std::string& path, std::string node_name = "", std::string format = "toy") {
  NodeTree tree = Tree(std::move(format), std::move(node_name));
  tree.filename = path;
  tree.is_read_only = true;
  return tree;
}

void Below(NodeTree& tree, const std::string& name, NodeTree child) {
  tree.children.push_back({name, "", std::make_unique<NodeTree>(std::move(child))});
}

class OpenTreeTest : public ToyImagesFixture {
 protected:
  // "top <- mid <- base" in one folder.
  OpenTreeTest() {
    disk_.Put("a/base", ToyImage("", "", "DUUD", 'b'));
    disk_.Put("other", ToyImage("", "", "DDDD", 'o'));
    disk_.Put("raw", std::string(512, 'r'), 2048);
  }

  absl::StatusOr<Attachment> CoOpen(Graph& graph, NodeTree tree) MILLRACE_MAY_SUSPEND {
    return CoOpenTree(graph, registry_, std::move(tree), options_);
  }
  // Opening must fail with this code and text, and leave nothing behind.
  void ExpectRefused(NodeTree tree, absl::StatusCode code, const std::string& text) {
    InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
      absl::Status status = CoOpen(graph, std::move(tree)).status();
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(text));
      EXPECT_EQ(graph.node_count(), 0u) << "the failed open left nodes";
    });
  }

  OpenTreeOptions options_;
};

// "top <- mid <- base": names, "[filter]" in brackets, "*" for writable nodes.
std::string Chain(Graph& graph, const Attachment& hold) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  std::string text;
  absl::StatusOr<NodeView> start = view.Resolve(hold.node());
  for (std::optional<NodeId> id = hold.node(); id;) {
    absl::StatusOr<NodeView> node = view.Resolve(*id);
    if (!text.empty()) text += " <- ";
    const std::string name =
        StrCat(node->name().front() == '#' ? "#" : node->name(), node->is_read_only() ? "" : "*");
    text += node->is_filter() ? StrCat("[", name, "]") : name;
    std::optional<NodeView> next = node->FilteredOrBacking();
    id = next ? std::optional<NodeId>(next->id()) : std::nullopt;
  }
  return text;
}

std::string CoReadAll(Attachment& hold) MILLRACE_MAY_SUSPEND {
  std::string bytes(hold.bytes(), '?');
  absl::Status status = hold.CoRead(0, IoVector(bytes.data(), bytes.size()));
  return status.ok() ? bytes : std::string(status.message());
}

TEST_F(OpenTreeTest, WhatTheTreeSaysAddsToWhatTheHeaderSays) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree tree = Image("a/top", "top");
    Below(tree, "backing", Tree("", "mid"));
    Below(*tree.children[0].tree, "backing", Tree("", "base"));
    auto hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(Chain(graph, *hold), "top <- mid <- base");
    EXPECT_EQ(graph.node_count(), 6u);
    hold->CoDetach();
    EXPECT_EQ(graph.node_count(), 0u) << "something else than the top's holder kept a node";
  });
}

TEST_F(OpenTreeTest, ABackingNamedByTheTreeReplacesTheHeaders) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree tree = Image("a/top", "top");
    Below(tree, "backing", Image("other", "other"));
    auto hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(Chain(graph, *hold), "top <- other");
    EXPECT_EQ(CoReadAll(*hold),
              std::string(512, 'o') + std::string(512, 't') + std::string(1024, 'o'));
    hold->CoDetach();
  });
}

// On the file as it is, a guest's first write would destroy the image.
TEST_F(OpenTreeTest, AFiltersFileNameIsTheImageInItUnlessItIsQemusWay) {
  for (const bool is_qemus_way : {false, true}) {
    SCOPED_TRACE(is_qemus_way);
    if (is_qemus_way) options_.on_raw_guessed_for_writing = [](const std::string&) {};
    InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
      CreateImageOptions image{.path = "image", .overwrites = true};
      image.qcow2.bytes = 1 << 20;
      ASSERT_TRUE(CoCreateImage(graph, registry_, image).ok());
      NodeTree tree = Tree("copy-on-read", "f");
      tree.filename = "image";
      auto hold = CoOpen(graph, std::move(tree));
      ASSERT_TRUE(hold.ok()) << hold.status();
      EXPECT_EQ(hold->bytes() == 1 << 20, !is_qemus_way) << hold->bytes();
      hold->CoDetach();
    });
  }
  options_.on_raw_guessed_for_writing = nullptr;
  NodeTree over_raw = Tree("copy-on-read");
  over_raw.filename = "raw";
  ExpectRefused(std::move(over_raw), absl::StatusCode::kPermissionDenied,
                "its format was not given, and it looks like raw");
}

TEST_F(OpenTreeTest, AChildByAWrongNameIsToldTheRightOne) {
  NodeTree tree = Tree("copy-on-read");
  Below(tree, "image", Image("a/top"));
  ExpectRefused(std::move(tree), absl::StatusCode::kInvalidArgument,
                "the driver has no child 'image'; what it stands on is 'file'");
}

TEST_F(OpenTreeTest, NothingBelowIfTheTreeSaysSo) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree tree = Image("a/top", "top");
    tree.children.push_back({"backing", "", nullptr});
    auto hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(Chain(graph, *hold), "top");
    hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, ReferencesShareANodeThatStaysWithItsOwner) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto base = CoOpen(graph, Image("other", "base"));
    ASSERT_TRUE(base.ok()) << base.status();
    NodeTree tree = Image("a/top", "top");
    tree.children.push_back({"backing", "base", nullptr});
    auto hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(Chain(graph, *hold), "top <- base");
    hold->CoDetach();
    EXPECT_EQ(graph.node_count(), 2u);
    base->CoDetach();
  });
}

TEST_F(OpenTreeTest, ReferencesToNobodyAreRefusedAndRolledBack) {
  NodeTree tree = Image("a/top", "top");
  tree.children.push_back({"backing", "nobody", nullptr});
  ExpectRefused(std::move(tree), absl::StatusCode::kNotFound, "nobody");
}

TEST_F(OpenTreeTest, AFailureFarBelowLeavesNothing) {
  disk_.Put("a/mid", ToyImage("gone", "toy", "U"));
  ExpectRefused(Image("a/top", "top"), absl::StatusCode::kNotFound, "backing file of 'a/mid'");
}

TEST_F(OpenTreeTest, ANameThatIsTakenLeavesNothing) {
  NodeTree tree = Image("a/top", "twice");
  Below(tree, "backing", Tree("", "twice"));
  ExpectRefused(std::move(tree), absl::StatusCode::kInvalidArgument, "twice");
}

TEST_F(OpenTreeTest, BlkdebugNamesPutAFilterUnderTheFormat) {
  disk_.Put("rules", "[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nonce = \"on\"\n");
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto hold = CoOpen(graph, Image("blkdebug:rules:other", "disk"));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_NE(BreakPointsBelow(graph, hold->node()), nullptr);
    EXPECT_THAT(CoReadAll(*hold), HasSubstr("injected at read_aio"));
    EXPECT_EQ(CoReadAll(*hold), std::string(2048, 'o')) << "the rule was for once";
    hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, BlkverifyNamesOpenTwoImagesAndTheSecondIsGuessed) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto hold = CoOpen(graph, Image("blkverify:other:other", "disk"));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(graph.node_count(), 5u) << "disk, the filter, a file, and a raw image on a file";
    EXPECT_EQ(CoReadAll(*hold), std::string(2048, 'o'));
    hold->CoDetach();
  });
  ExpectRefused(Image("blkverify:other"), absl::StatusCode::kInvalidArgument,
                "after 'blkverify:' come the raw image's name");
}

TEST_F(OpenTreeTest, RulesMayBeGivenAsOptions) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree tree = Image("other", "disk");
    NodeTree filter = Tree("blkdebug");
    filter.options = {{"inject-error.0.event", "read_aio"}, {"inject-error.0.errno", "28"}};
    NodeTree file = Tree("file");
    file.options["filename"] = "other";
    Below(filter, "image", std::move(file));
    tree.filename.clear();
    Below(tree, "file", std::move(filter));
    auto hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_THAT(CoReadAll(*hold), HasSubstr("injected at read_aio"));
    hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, AHeaderNamesAProtocolOnlyIfTheGateIsLikeQemu) {
  disk_.Put("a/top", ToyImage("blkdebug::a/base", "toy", "UDUU", 't'));
  ExpectRefused(Image("a/top"), absl::StatusCode::kPermissionDenied, "plain path");
  options_.gate.like_qemu = true;
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto hold = CoOpen(graph, Image("a/top", "top"));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(Chain(graph, *hold), "top <- #");
    EXPECT_EQ(graph.node_count(), 5u);
    hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, JsonNamesAreReadByWhoeverKnowsJson) {
  ExpectRefused(Image("json:{}"), absl::StatusCode::kInvalidArgument, "no protocol 'json'");
  options_.parse_json_name = [](std::string_view text) -> absl::StatusOr<NodeTree> {
    EXPECT_EQ(text, "{other}");
    return Image("other", "other");
  };
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree tree;
    tree.filename = "json:{other}";
    auto hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(Chain(graph, *hold), "other");
    hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, UnknownThingsAreRefusedByName) {
  ExpectRefused(Image("x:y"), absl::StatusCode::kInvalidArgument, "no protocol 'x'");
  ExpectRefused(Tree("nonsense"), absl::StatusCode::kNotFound, "no driver 'nonsense'");
  ExpectRefused(Tree("toy"), absl::StatusCode::kInvalidArgument, "child");
  NodeTree child = Image("other");
  Below(child, "lid", Tree("null-co"));
  ExpectRefused(std::move(child), absl::StatusCode::kInvalidArgument, "no child 'lid'");
  NodeTree option = Tree("null-co");
  option.options["sice"] = "1";
  ExpectRefused(std::move(option), absl::StatusCode::kInvalidArgument, "sice");
  NodeTree backing = Image("raw", "", "raw");
  Below(backing, "backing", Image("other"));
  ExpectRefused(std::move(backing), absl::StatusCode::kInvalidArgument, "no child 'backing'");
}

TEST_F(OpenTreeTest, NoTreeNamesADescriptorOrARoot) {
  for (const char* own : {"descriptor", "open-root"}) {
    NodeTree tree = Image("", "top");
    Below(tree, "file", Tree("file"));
    tree.children[0].tree->options = {{"filename", "a/top"}, {own, "0"}};
    ExpectRefused(std::move(tree), absl::StatusCode::kInvalidArgument,
                  StrCat("driver 'file' has no option '", own, "'"));
  }
}

TEST_F(OpenTreeTest, ALoopIsFoundWhereverItIs) {
  disk_.Put("a/base", ToyImage("top", "toy", "U"));
  ExpectRefused(Image("a/top"), absl::StatusCode::kFailedPrecondition,
                "loop: a/top -> a/mid -> a/base -> a/top");
}

TEST_F(OpenTreeTest, ALongChainNeedsNoDeepStack) {
  for (int i = 0; i < 200; ++i) {
    disk_.Put(StrCat("long/", i), ToyImage(StrCat(i + 1), "toy", "U"));
  }
  disk_.Put("long/200", ToyImage("", "", "D", 'z'));
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto hold = CoOpen(graph, Image("long/0"));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(graph.node_count(), 402u);
    hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, AccessIsTakenOverUnlessTheUserSaidOtherwise) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree tree = Tree("raw", "top");
    tree.is_read_only = true;
    NodeTree file = Tree("file", "file");
    file.options["filename"] = "raw";
    NodeTree fixed = Tree("raw", "fixed");
    fixed.is_read_only = true;
    NodeTree fixed_file = Tree("file", "fixed-file");
    fixed_file.options["filename"] = "other";
    fixed_file.is_read_only = true;
    Below(tree, "file", std::move(file));
    Below(fixed, "file", std::move(fixed_file));
    auto hold = CoOpen(graph, std::move(tree));
    auto fixed_hold = CoOpen(graph, std::move(fixed));
    ASSERT_TRUE(hold.ok()) << hold.status();
    ASSERT_TRUE(fixed_hold.ok()) << fixed_hold.status();
    const HolderRef user = MakeHolder("user", "test");
    EXPECT_TRUE(CoSetReadOnly(graph, hold->node(), false, user).ok());
    // A raw image may well be writable over a file that is not, as long as nobody writes.
    EXPECT_TRUE(CoSetReadOnly(graph, fixed_hold->node(), false, user).ok());
    AttachmentOptions writer;
    writer.holder = user;
    writer.permissions.used = kWrite;
    const absl::Status refused =
        Attachment::Attach(graph, fixed_hold->node(), std::move(writer)).status();
    ASSERT_TRUE(ConflictOf(refused)) << refused;
    EXPECT_EQ(ConflictOf(refused)->reason, ConflictReason::kReadOnly);
    EXPECT_EQ(ConflictOf(refused)->object, "fixed-file");
    hold->CoDetach();
    fixed_hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, ZeroesAreDetectedAndDiscardsPassedAsAsked) {
  struct Case {
    DetectZeroes detect;
    bool discards;
    uint64_t left;  // what the file takes after a block of zeroes was written and one discarded
  };
  for (const Case& each : std::vector<Case>{{DetectZeroes::kOff, false, 2 * 65536},
                                            {DetectZeroes::kOff, true, 65536},
                                            {DetectZeroes::kUnmap, true, 0}}) {
    disk_.Put("disk", "");
    const uint64_t others = disk_.allocated_bytes();
    disk_.Put("disk", std::string(2 * 65536, 'd'));
    InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
      NodeTree tree = Tree("raw");
      tree.filename = "disk";
      tree.detect_zeroes = each.detect;
      tree.passes_discards = each.discards;
      auto hold = CoOpen(graph, std::move(tree));
      ASSERT_TRUE(hold.ok()) << hold.status();
      AttachmentOptions writer{.holder = MakeHolder("guest", "block device"), .purpose = "root"};
      writer.permissions.used = kConsistentRead | kWrite;
      auto guest = Attachment::Attach(graph, hold->node(), writer);
      ASSERT_TRUE(guest.ok()) << guest.status();
      const std::string zeroes(65536, '\0');
      EXPECT_TRUE(guest->CoWrite(0, IoVector::OfConst(zeroes.data(), zeroes.size())).ok());
      EXPECT_TRUE(guest->CoDiscard(ByteRange(65536, 65536)).ok());
      guest->CoDetach();
      hold->CoDetach();
    });
    EXPECT_EQ(disk_.allocated_bytes() - others, each.left)
        << static_cast<int>(each.detect) << each.discards;
  }
  NodeTree tree = Tree("raw");
  tree.filename = "disk";
  tree.detect_zeroes = DetectZeroes::kUnmap;
  ExpectRefused(std::move(tree), absl::StatusCode::kInvalidArgument, "discards");
}

TEST_F(OpenTreeTest, FormatsAreGuessedFromWhatTheFileHolds) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree tree;
    NodeTree file;
    file.options["filename"] = "raw";
    Below(tree, "file", std::move(file));
    tree.is_read_only = true;
    auto hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(hold->bytes(), 2048u);
    hold->CoDetach();
  });
  NodeTree writable;
  writable.filename = "raw";
  ExpectRefused(std::move(writable), absl::StatusCode::kPermissionDenied, "format was not given");
}

TEST_F(OpenTreeTest, AGuessOfRawIsWritableForWhoeverWantsToHearOfIt) {
  std::vector<std::string> told;
  options_.on_raw_guessed_for_writing = [&](const std::string& name) { told.push_back(name); };
  disk_.Put("vmdk", "KDMV", 2048);
  NodeTree other;
  other.filename = "vmdk";
  ExpectRefused(std::move(other), absl::StatusCode::kNotFound, "vmdk");
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    NodeTree stated = Tree("raw");
    stated.filename = "raw";
    auto hold = CoOpen(graph, std::move(stated));
    ASSERT_TRUE(hold.ok()) << hold.status();
    hold->CoDetach();
    EXPECT_TRUE(told.empty());
    NodeTree tree;
    tree.filename = "raw";
    hold = CoOpen(graph, std::move(tree));
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_EQ(told, std::vector<std::string>{"raw"});
    AttachmentOptions user;
    user.permissions.used = kConsistentRead | kWrite;
    auto guest = Attachment::Attach(graph, hold->node(), std::move(user));
    ASSERT_TRUE(guest.ok()) << guest.status();
    std::string header = std::string("QFI\xfb\0\0\0\3", 8) + std::string(1024, 'x');
    const IoVector memory(header.data(), header.size());
    EXPECT_EQ(guest->CoWrite(0, memory).code(), absl::StatusCode::kPermissionDenied);
    EXPECT_TRUE(guest->CoWrite(512, memory).ok());
    std::string there(8, '-');
    EXPECT_TRUE(guest->CoRead(0, IoVector(there.data(), there.size())).ok());
    EXPECT_EQ(there, "rrrrrrrr");
    header[0] = 'R';
    EXPECT_TRUE(guest->CoWrite(0, memory).ok());
    EXPECT_TRUE(guest->CoRead(0, IoVector(there.data(), there.size())).ok());
    EXPECT_EQ(there, header.substr(0, 8));
    guest->CoDetach();
    hold->CoDetach();
  });
}

// ---- Half open -----------------------------------------------------------------------------------

// Half a chain shows zeroes where its backing is to show through.
TEST_F(OpenTreeTest, ANamedNodeIsFoundOnlyWhenAllThatStandsBelowItIsOpen) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    graph.engine().simulated_io()->SetLatency(kMillisecond);
    const auto is_found = [&](std::string_view name) {
      HostScope host;
      GraphView view(graph);
      return view.Find(name).ok();
    };
    absl::StatusOr<Attachment> hold = absl::UnknownError("not yet");
    NodeTree tree = Image("a/top", "upper");
    Below(tree, "backing", Image("a/mid", "middle"));
    TaskScope scope("open");
    scope.Spawn("open", [&]() MILLRACE_MAY_SUSPEND {
      hold = CoOpen(graph, std::move(tree));
      return absl::OkStatus();
    });
    size_t half_open = 0;
    while (scope.live() > 0) {
      const bool was_found = is_found("upper") || is_found("middle");
      EXPECT_FALSE(was_found && absl::IsUnknown(hold.status())) << "after " << half_open;
      half_open += GraphInternals::Of(graph).FindByName("upper") != nullptr ? 1 : 0;
      CoSleepFor(kMillisecond / 4).IgnoreError();
    }
    EXPECT_TRUE(scope.CoJoin().ok());
    EXPECT_GT(half_open, 3u) << "it was never there half open";
    ASSERT_TRUE(hold.ok()) << hold.status();
    EXPECT_TRUE(is_found("upper"));
    EXPECT_TRUE(is_found("middle"));
    EXPECT_EQ(Chain(graph, *hold), "upper <- middle <- #");
    hold->CoDetach();
  });
}

TEST_F(OpenTreeTest, ANameThatIsBeingOpenedIsTaken) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    graph.engine().simulated_io()->SetLatency(kMillisecond);
    absl::StatusOr<Attachment> first;
    TaskScope scope("open");
    scope.Spawn("open", [&]() MILLRACE_MAY_SUSPEND {
      first = CoOpen(graph, Image("a/top", "disk"));
      return absl::OkStatus();
    });
    while (GraphInternals::Of(graph).FindByName("disk") == nullptr) {
      CoSleepFor(kMillisecond / 4).IgnoreError();
    }
    const absl::Status second = CoOpen(graph, Image("other", "disk")).status();
    EXPECT_EQ(ConflictOf(second).value().reason, ConflictReason::kDuplicateNodeName) << second;
    EXPECT_TRUE(scope.CoJoin().ok());
    ASSERT_TRUE(first.ok()) << first.status();
    first->CoDetach();
  });
}

// ---- Descriptors ---------------------------------------------------------------------------------

TEST_F(OpenTreeTest, ADescriptorIsClosedIfTheDriverRefusesItsOptions) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[1]);
  options_.open_descriptor = [&](const std::string&, bool) -> absl::StatusOr<std::optional<int>> {
    return ends[0];
  };
  NodeTree tree = Tree("file");
  tree.options = {{"filename", "/dev/fdset/1"}, {"locking", "perhaps"}};
  ExpectRefused(std::move(tree), absl::StatusCode::kInvalidArgument, "locking");
  EXPECT_EQ(fcntl(ends[0], F_GETFD), -1) << "the descriptor is still open";
  EXPECT_EQ(errno, EBADF);
}

}  // namespace
}  // namespace millrace::open_tree_test
