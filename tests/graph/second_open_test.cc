// One image, opened twice in one process: the refusal names the node that has it.
#include <unistd.h>

#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/graph.h"
#include "millrace/graph/open_file.h"
#include "millrace/graph/open_image.h"
#include "millrace/graph/open_tree.h"
#include "tests/support/temporary_folder.h"

namespace millrace::second_open_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class SecondOpenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = Engine::Create({.io = IoBackendKind::kThreads});
    ASSERT_TRUE(created.ok()) << created.status();
    engine_ = *std::move(created);
    graph_ = std::make_unique<Graph>(*engine_);
    ASSERT_TRUE(RegisterBuiltinDrivers(registry_).ok());
    std::ofstream(path_) << std::string(65536, 'x');
  }

  // A raw image "NAME <- its file", attached to as a guest's disk, or by somebody who looks.
  absl::StatusOr<Attachment> CoUse(Graph& graph, const std::string& name, bool is_read_only,
                                   bool is_unlocked = false) MILLRACE_MAY_SUSPEND {
    OpenImageOptions options{.path = path_, .format = "raw"};
    options.is_read_only = is_read_only;
    if (is_unlocked) options.locking = "off";
    options.node_names = {name};
    MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(graph, registry_, options));
    AttachmentOptions user{.holder = MakeHolder(name, "guest device")};
    user.permissions = GuestDevicePermissions();
    if (is_read_only) user.permissions = {kConsistentRead, kAllPermissions - kWrite - kResize};
    if (is_unlocked) user.permissions = {kConsistentRead, kAllPermissions};
    absl::StatusOr<Attachment> attached = Attachment::Attach(graph, image.top(), std::move(user));
    for (Attachment& hold : image.holds) hold.CoDetach();
    return attached;
  }
  void Run(const std::function<absl::Status()>& body) {
    const absl::Status status = engine_->Run([&]() MILLRACE_MAY_SUSPEND {
      absl::Status result = body();
      graph_->CoClose();
      return result;
    });
    EXPECT_TRUE(status.ok()) << status;
  }

  TemporaryFolder folder_;
  const std::string path_ = folder_.File("disk.raw");
  DriverRegistry registry_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Graph> graph_;
};

TEST_F(SecondOpenTest, TheNodeThatHasItIsNamed) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment guest, CoUse(*graph_, "disk", false));
    for (const bool is_read_only : {false, true}) {
      const absl::Status refused = CoUse(*graph_, "again", is_read_only).status();
      EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
      EXPECT_THAT(std::string(refused.message()),
                  HasSubstr("node 'disk' of this graph (used by guest device 'disk') "));
      EXPECT_THAT(std::string(refused.message()),
                  HasSubstr("let all who use it go first, or attach to node 'disk'"));
      const Conflict conflict = ConflictOf(refused).value();
      EXPECT_EQ(conflict.reason, ConflictReason::kImageLocked);
      EXPECT_EQ(conflict.holders.size(), 2u);
      EXPECT_EQ(conflict.holders.at(0).id, "disk");
      EXPECT_EQ(conflict.holders.at(0).type, "node");
    }
    guest.CoDetach();
    return absl::OkStatus();
  });
}

// Whoever lets go of an image need not know that its files are closed later.
TEST_F(SecondOpenTest, WhatWasJustLetGoOfIsOpenedAgain) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (int i = 0; i < 3; ++i) {
      MILLRACE_ASSIGN_OR_RETURN(Attachment guest, CoUse(*graph_, "disk", false));
    }
    return absl::OkStatus();
  });
}

// A filter between an image and its file goes later than the image, and the file later than that.
TEST_F(SecondOpenTest, WhatStoodOnAFilterIsOpenedAgain) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    for (int i = 0; i < 3; ++i) {
      auto filter = std::make_unique<NodeTree>();
      filter->driver = "copy-on-read";
      auto file = std::make_unique<NodeTree>();
      file->driver = "file";
      file->options = {{"filename", path_}};
      filter->children.push_back({"file", "", std::move(file)});
      NodeTree image;
      image.driver = "raw";
      image.children.push_back({"file", "", std::move(filter)});
      MILLRACE_ASSIGN_OR_RETURN(const Attachment hold,
                                CoOpenTree(*graph_, registry_, std::move(image), {}));
      MILLRACE_ASSIGN_OR_RETURN(
          const Attachment guest,
          Attachment::Attach(*graph_, hold.node(), GuestDeviceOptions("drive0")));
    }
    return absl::OkStatus();
  });
}

// Cuts its file to a tenth when it is closed, as an image does that has grown in advance.
class CutsAtTheEnd final : public FilterDriver {
 public:
  explicit CutsAtTheEnd(std::string path) : path_(std::move(path)) {}
  std::string_view driver_name() const override { return "cuts"; }
  void CoClose() override MILLRACE_MAY_SUSPEND { EXPECT_EQ(truncate(path_.c_str(), 6553), 0); }

 private:
  const std::string path_;
};

TEST_F(SecondOpenTest, WhatIsCutWhenItIsLetGoOfIsSeenAsItIsThen) {
  ASSERT_TRUE(registry_
                  .Register(
                      "cuts",
                      [this](const DriverOptions&) -> absl::StatusOr<std::unique_ptr<Driver>> {
                        return std::make_unique<CutsAtTheEnd>(path_);
                      },
                      NodeKind::kFilter)
                  .ok());
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    const OpenFileOptions file{.path = path_, .is_read_only = false};
    {
      auto below = std::make_unique<NodeTree>();
      below->driver = "file";
      below->options = {{"filename", path_}};
      NodeTree filter;
      filter.driver = "cuts";
      filter.children.push_back({"file", "", std::move(below)});
      MILLRACE_ASSIGN_OR_RETURN(const Attachment hold,
                                CoOpenTree(*graph_, registry_, std::move(filter), {}));
      EXPECT_EQ(hold.bytes(), 65536u);
    }
    MILLRACE_ASSIGN_OR_RETURN(const Attachment again, CoOpenFileNode(*graph_, registry_, file));
    EXPECT_EQ(again.bytes(), 6553u);
    return absl::OkStatus();
  });
}

TEST_F(SecondOpenTest, WhoIsNotInTheWayIsNotNamed) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(Attachment look, CoUse(*graph_, "look", true, true));
    MILLRACE_ASSIGN_OR_RETURN(Attachment guest, CoUse(*graph_, "disk", false));
    const absl::Status refused = CoUse(*graph_, "again", false).status();
    EXPECT_THAT(std::string(refused.message()), HasSubstr("node 'disk'"));
    EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("look'")));
    EXPECT_EQ(ConflictOf(refused).value().holders.size(), 2u);
    guest.CoDetach();
    look.CoDetach();
    return absl::OkStatus();
  });
}

TEST_F(SecondOpenTest, OfAnotherGraphOnlyTheProcessIsKnown) {
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Graph other(*engine_);
    MILLRACE_ASSIGN_OR_RETURN(Attachment guest, CoUse(other, "disk", false));
    const absl::Status refused = CoUse(*graph_, "again", false).status();
    EXPECT_THAT(std::string(refused.message()), HasSubstr("but no node of this graph"));
    EXPECT_EQ(ConflictOf(refused).value().holders.at(0).type, "this process");
    guest.CoDetach();
    other.CoClose();
    return absl::OkStatus();
  });
}

}  // namespace
}  // namespace millrace::second_open_test
