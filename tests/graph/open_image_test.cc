#include "millrace/graph/open_image.h"

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
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph_view.h"
#include "millrace/graph/map_image.h"
#include "millrace/graph/whole_file.h"
#include "tests/support/toy_images_fixture.h"

namespace millrace::open_image_test {
namespace {

using ::testing::HasSubstr;

class OpenImageTest : public ToyImagesFixture {
 protected:
  // "top <- mid <- base" in one folder, and a raw image below.
  OpenImageTest() {
    disk_.Put("a/base", ToyImage("../b/raw", "raw", "UUD", 'b'));
    disk_.Put("a/../b/raw", std::string(512, 'r'), 1024);
  }

  OpenImageOptions Toy(const std::string& path) {
    OpenImageOptions options;
    options.path = path;
    options.format = "toy";
    options.is_read_only = true;
    return options;
  }
  // Opening must fail with this code and text, and leave nothing behind.
  void ExpectRefused(const OpenImageOptions& options, absl::StatusCode code,
                     const std::string& text) {
    InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
      absl::Status status = CoOpenImage(graph, registry_, options).status();
      EXPECT_EQ(status.code(), code) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr(text));
      EXPECT_EQ(graph.node_count(), 0u) << "the failed open left nodes";
      // Whatever it had open is closed: it can be opened for writing, alone.
      OpenFileOptions file{.path = "a/top", .is_read_only = false};
      auto alone = WholeFile::CoOpen(graph, registry_, file);
      EXPECT_TRUE(alone.ok()) << alone.status();
      if (alone.ok()) (*alone)->CoClose();
    });
  }
};

std::vector<std::string> Names(Graph& graph, const OpenedImage& image) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  std::vector<std::string> names;
  for (NodeId id : image.images) {
    absl::StatusOr<NodeView> node = view.Resolve(id);
    names.push_back(node.ok() ? StrCat(node->name(), "=", node->Child(Role::kPrimary)->filename())
                              : "gone");
  }
  return names;
}

TEST_F(OpenImageTest, ANameInAHeaderIsPrintedWithoutItsControlCharacters) {
  disk_.Put("a/top", ToyImage("gone\x1b[2J\x07", "toy", "U", 't'));
  ExpectRefused(Toy("a/top"), absl::StatusCode::kNotFound, "open 'a/gone\\x1b[2J\\x07'");
}

TEST_F(OpenImageTest, AnImageWithoutAPathIsRefusedByThatName) {
  ExpectRefused({.format = "toy"}, absl::StatusCode::kInvalidArgument,
                "no path is given; set OpenImageOptions::path");
}

TEST_F(OpenImageTest, OpensTheChainThatTheHeadersName) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options = Toy("a/top");
    options.node_names = {"drive", "", "low"};
    auto image = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(image.ok()) << image.status();
    const std::vector<std::string> names = Names(graph, *image);
    ASSERT_EQ(names.size(), 4u);
    EXPECT_EQ(names[0], "drive=a/top");
    EXPECT_THAT(names[1], HasSubstr("=a/mid"));
    EXPECT_EQ(names[2], "low=a/base");
    EXPECT_THAT(names[3], HasSubstr("=a/../b/raw"));
    EXPECT_EQ(image->holds.size(), 1u);
    EXPECT_EQ(graph.node_count(), 8u);
    EXPECT_TRUE(graph.CheckInvariants().ok());
    image->holds[0].CoDetach();
    EXPECT_EQ(graph.node_count(), 0u);
  });
}

TEST_F(OpenImageTest, NamesNodesAfterTheirFiles) {
  disk_.Put("a/top", ToyImage("./7~of:9", "toy", "U"));
  disk_.Put("a/./7~of:9", ToyImage("b/top", "toy", "U"));
  disk_.Put("a/./b/top", ToyImage("", "", "U"));
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options = Toy("a/top");
    options.names_nodes_after_files = true;
    auto image = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_THAT(Names(graph, *image),
                testing::ElementsAre("top=a/top", "image-7-of-9=a/./7~of:9", "top-2=a/./b/top"));
    image->holds[0].CoDetach();
  });
}

TEST_F(OpenImageTest, ReadsThroughEveryLayer) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto image = CoOpenImage(graph, registry_, Toy("a/top"));
    ASSERT_TRUE(image.ok()) << image.status();
    std::string bytes(2048, '?');
    ASSERT_TRUE(image->holds[0].CoRead(0, IoVector(bytes.data(), bytes.size())).ok());
    const std::string zeroes(1024, '\0');
    EXPECT_EQ(bytes, std::string(512, 'r') + std::string(512, 't') + zeroes);
    image->holds[0].CoDetach();
  });
}

TEST_F(OpenImageTest, HoldsEachImageWhenAsked) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options = Toy("a/top");
    options.holds_every_image = true;
    auto image = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(image.ok()) << image.status();
    ASSERT_EQ(image->holds.size(), 4u);
    image->holds[0].CoDetach();
    EXPECT_EQ(graph.node_count(), 6u) << "the images below the top are held by themselves";
    for (Attachment& hold : image->holds) hold.CoDetach();
  });
}

TEST_F(OpenImageTest, OpensBackingFilesReadOnlyAndTheTopAsAsked) {
  disk_.Put("raw-top", std::string(512, 'r'));
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options = Toy("a/top");
    options.is_read_only = false;
    auto image = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(image.ok()) << image.status();
    {
      GraphView view(graph);
      for (size_t i = 0; i < image->images.size(); ++i) {
        absl::StatusOr<NodeView> node = view.Resolve(image->images[i]);
        EXPECT_EQ(node->is_read_only(), i > 0);
        EXPECT_EQ(node->Child(Role::kPrimary)->is_read_only(), i > 0);
      }
    }
    image->holds[0].CoDetach();
  });
}

TEST_F(OpenImageTest, OpensOnlyTheTopWhenAsked) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options = Toy("a/top");
    options.opens_backing = false;
    auto image = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(graph.node_count(), 2u);
    image->holds[0].CoDetach();
  });
}

TEST_F(OpenImageTest, AMissingBackingFileNamesItsOverlay) {
  disk_.Remove("a/base");
  ExpectRefused(Toy("a/top"), absl::StatusCode::kNotFound, "backing file of 'a/mid'");
}

TEST_F(OpenImageTest, AMissingBackingFormatIsRefused) {
  disk_.Put("a/mid", ToyImage("base", "", "UUZU"));
  ExpectRefused(Toy("a/top"), absl::StatusCode::kFailedPrecondition, "does not say its format");
}

TEST_F(OpenImageTest, AProtocolInAHeaderIsRefused) {
  disk_.Put("a/mid", ToyImage("nbd:localhost:10809", "raw", "UUZU"));
  ExpectRefused(Toy("a/top"), absl::StatusCode::kPermissionDenied, "plain path");
}

TEST_F(OpenImageTest, AFormatThatIsNoImageFormatIsRefused) {
  for (const std::string format : {"file", "null", "nonsense"}) {
    disk_.Put("a/mid", ToyImage("base", format, "UUZU"));
    ExpectRefused(Toy("a/top"), absl::StatusCode::kInvalidArgument, "no such image format");
  }
}

TEST_F(OpenImageTest, ALoopIsFoundByTheFilesIdentity) {
  disk_.Put("a/base", ToyImage("top", "toy", "UUD"));
  ExpectRefused(Toy("a/top"), absl::StatusCode::kFailedPrecondition, "is a loop");
}

TEST_F(OpenImageTest, AChainEndsAtTheDepthLimit) {
  OpenImageOptions options = Toy("a/top");
  options.gate.chain_depth_max = 3;
  ExpectRefused(options, absl::StatusCode::kFailedPrecondition, "more than 3 images");
}

TEST_F(OpenImageTest, ADriverThatFailsToOpenLeavesNothing) {
  disk_.Put("a/base", std::string(1024, 'j'));
  ExpectRefused(Toy("a/top"), absl::StatusCode::kInvalidArgument, "not a toy image");
}

TEST_F(OpenImageTest, ADuplicateNodeNameLeavesNothing) {
  OpenImageOptions options = Toy("a/top");
  options.node_names = {"one", "one"};
  ExpectRefused(options, absl::StatusCode::kInvalidArgument, "another node has this name");
}

TEST_F(OpenImageTest, AnImageLockedByAnotherProgramIsRefused) {
  disk_.Put("raw-top", std::string(512, 'r'));
  disk_.HoldLock("raw-top", 201, "process 42");  // who does not share writing
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options;
    options.path = "raw-top";
    options.format = "raw";
    absl::StatusOr<OpenedImage> opened = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(opened.ok()) << opened.status();  // a raw image asks for nothing by itself
    AttachmentOptions writer;
    writer.holder = MakeHolder("writer", "test");
    writer.permissions.used = kWrite;
    absl::Status status =
        Attachment::Attach(graph, opened->images.front(), std::move(writer)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("process 42"));
    for (Attachment& hold : opened->holds) hold.CoDetach();
  });
}

TEST_F(OpenImageTest, AGuessOfRawIsGoodForReadingOnly) {
  disk_.Put("raw-top", std::string(512, 'r'));
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options;
    options.path = "raw-top";
    absl::Status refused = CoOpenImage(graph, registry_, options).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("state the format"));
    options.is_read_only = true;
    auto image = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(image.ok()) << image.status();
    image->holds[0].CoDetach();
  });
}

TEST_F(OpenImageTest, AnImageStatedToBeRawIsNeverProbed) {
  disk_.Put("raw-top", std::string("QFI\xfb\0\0\0\3", 8), 1024);
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options;
    options.path = "raw-top";
    options.format = "raw";
    auto image = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(image->holds[0].bytes(), 1024u);
    image->holds[0].CoDetach();
  });
}

// ---- The map ------------------------------------------------------------------------------------

std::vector<std::string> CoMapInWords(Attachment& disk) MILLRACE_MAY_SUSPEND {
  std::vector<std::string> runs;
  absl::Status status = CoMapImage(disk, [&](const MapExtent& run) {
    runs.push_back(StrCat(run.offset, "+", run.bytes, " depth ", run.depth,
                          run.is_present ? " present" : "", run.is_zero ? " zero" : "",
                          run.is_data ? " data" : "",
                          run.host_offset ? StrCat(" at ", *run.host_offset) : ""));
  });
  EXPECT_TRUE(status.ok()) << status;
  return runs;
}

TEST_F(OpenImageTest, TheMapTellsTheLayerThatDecides) {
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto image = CoOpenImage(graph, registry_, Toy("a/top"));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_THAT(CoMapInWords(image->holds[0]),
                testing::ElementsAre("0+512 depth 3 present data at 0",
                                     "512+512 depth 0 present data at 1024",
                                     "1024+512 depth 1 present zero",
                                     // Beyond the end of base, which is shorter than mid.
                                     "1536+512 depth 1 zero"));
    image->holds[0].CoDetach();
  });
}

TEST_F(OpenImageTest, TheMapMergesNeighboursAndShowsTheHolesOfRawImages) {
  disk_.Put("a/top", ToyImage("", "", "DDZZUUD"));
  disk_.Put("hole", std::string(65536, 'r'), 131072);
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    auto image = CoOpenImage(graph, registry_, Toy("a/top"));
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_THAT(
        CoMapInWords(image->holds[0]),
        testing::ElementsAre("0+1024 depth 0 present data at 512", "1024+1024 depth 0 present zero",
                             "2048+1024 depth 0 zero", "3072+512 depth 0 present data at 3584"));
    image->holds[0].CoDetach();
    OpenImageOptions options;
    options.path = "hole";
    options.format = "raw";
    options.is_read_only = true;
    auto raw = CoOpenImage(graph, registry_, options);
    ASSERT_TRUE(raw.ok()) << raw.status();
    EXPECT_THAT(CoMapInWords(raw->holds[0]),
                testing::ElementsAre("0+65536 depth 0 present data at 0",
                                     "65536+65536 depth 0 present zero at 65536"));
    raw->holds[0].CoDetach();
  });
}

// ---- WholeFile ----------------------------------------------------------------------------------

TEST_F(OpenImageTest, AWholeFileGrowsByWritingAndReadsZeroesBeyondItsEnd) {
  disk_.Put("file", "abc");
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenFileOptions options{.path = "file", .is_read_only = false};
    auto file = WholeFile::CoOpen(graph, registry_, options);
    ASSERT_TRUE(file.ok()) << file.status();
    std::string bytes(6, '?');
    EXPECT_TRUE((*file)->CoRead(1, IoVector(bytes.data(), 6)).ok());
    EXPECT_EQ(bytes, std::string("bc\0\0\0\0", 6));
    EXPECT_TRUE((*file)->CoWrite(4, IoVector::OfConst("xyz", 3)).ok());
    EXPECT_TRUE((*file)->CoFlush().ok());
    EXPECT_EQ((*file)->bytes(), 7u);
    (*file)->CoClose();
  });
  EXPECT_EQ(disk_.Contents("file"), std::string("abc\0xyz", 7));
}

TEST_F(OpenImageTest, AWholeFileForWritingIsAlone) {
  disk_.Put("file", "abc");
  InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
    OpenFileOptions options{.path = "file", .is_read_only = false};
    auto writer = WholeFile::CoOpen(graph, registry_, options);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (bool is_read_only : {true, false}) {
      options.is_read_only = is_read_only;
      absl::Status second = WholeFile::CoOpen(graph, registry_, options).status();
      EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition) << second;
    }
    (*writer)->CoClose();
  });
}

}  // namespace
}  // namespace millrace::open_image_test
