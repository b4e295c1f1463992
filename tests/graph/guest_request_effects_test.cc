// What a guest's request asks for beside its bytes arrives where it counts: at the disk of a host
// that may lose its power, and at the drivers below.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/guest_port.h"
#include "millrace/graph/image_tools.h"
#include "millrace/graph/open_image.h"
#include "millrace/graph/open_node.h"
#include "tests/support/graph_fixture.h"
#include "tests/support/toy_images_fixture.h"

namespace millrace::guest_request_effects_test {
namespace {

constexpr uint64_t kCluster = 65536;

absl::Status CoSubmit(Attachment& guest, GuestRequest& request) MILLRACE_MAY_SUSPEND {
  bool is_done = false;
  request.context = &is_done;
  request.completion = [](GuestRequest& done) { *static_cast<bool*>(done.context) = true; };
  if (!guest.guest_port().Submit(request)) return absl::InternalError("the port is closed");
  // Asleep, not yielding: a simulation lets I/O complete when no coroutine can run.
  while (!is_done) MILLRACE_RETURN_IF_ERROR(CoSleepFor(kMicrosecond));
  return request.status;
}

AttachmentOptions Device() {
  return {.holder = MakeHolder("drive0", "guest device"), .permissions = GuestDevicePermissions()};
}

class GuestRequestEffects : public ToyImagesFixture {
 protected:
  // A guest's device on a new image of this format, "disk"; `body(guest)`.
  template <typename Body>
  void OnImage(const std::string& format, Body body) {
    InGraph([&](Graph& graph) MILLRACE_MAY_SUSPEND {
      CreateImageOptions options{.path = "disk", .format = format};
      options.qcow2.bytes = 16 * kCluster;
      ASSERT_TRUE(CoCreateImage(graph, registry_, options).ok());
      auto image = CoOpenImage(graph, registry_, {.path = "disk", .format = format});
      ASSERT_TRUE(image.ok()) << image.status();
      auto guest = Attachment::Attach(graph, image->top(), Device());
      ASSERT_TRUE(guest.ok()) << guest.status();
      body(*guest);
      guest->CoDetach();
      for (Attachment& hold : image->holds) hold.CoDetach();
    });
  }
  // Writes a cluster of `letter` at `cluster`, durable at once or when the host likes.
  void CoWrite(Attachment& guest, uint64_t cluster, char letter, bool is_durable)
      MILLRACE_MAY_SUSPEND {
    std::string text(kCluster, letter);
    const iovec piece = {text.data(), text.size()};
    GuestRequest request;
    request.operation = GuestOperation::kWrite;
    request.force_unit_access = is_durable;
    request.offset = cluster * kCluster;
    request.iov = {&piece, 1};
    const absl::Status written = CoSubmit(guest, request);
    EXPECT_TRUE(written.ok()) << written;
  }
};

// The bytes, and the tables that lead to them: of all that the image is made of, nothing is left to
// lose.
TEST_F(GuestRequestEffects, AForcedWriteToAnImageIsDurableWhenItEnds) {
  for (const std::string format : {"qcow2", "raw"}) {
    OnImage(format, [&](Attachment& guest) MILLRACE_MAY_SUSPEND {
      CoWrite(guest, 3, 'o', false);
      EXPECT_NE(disk_.DurableContents("disk"), disk_.Contents("disk"))
          << format << ": what nobody forced is durable, so this shows nothing";
      CoWrite(guest, 5, 'f', true);
      EXPECT_EQ(disk_.DurableContents("disk"), disk_.Contents("disk")) << format;
    });
    disk_.Remove("disk");
  }
}

// Counts what comes by.
class Listener final : public FilterDriver {
 public:
  explicit Listener(std::vector<std::string>* heard) : heard_(heard) {}
  std::string_view driver_name() const override { return "listener"; }
  absl::Status CoWriteZeroes(ByteRange range, ZeroFlags flags) override MILLRACE_MAY_SUSPEND {
    heard_->push_back(StrCat("zeroes ", range.offset, "+", range.bytes,
                             flags.may_unmap ? "" : ", keep the space"));
    return FilterDriver::CoWriteZeroes(range, flags);
  }
  absl::Status CoDiscard(ByteRange range) override MILLRACE_MAY_SUSPEND {
    heard_->push_back(StrCat("discard ", range.offset, "+", range.bytes));
    return FilterDriver::CoDiscard(range);
  }

 private:
  std::vector<std::string>* const heard_;
};

class GuestRequestKinds : public GraphFixture {
 protected:
  // The guest's device moves up to a listener above the chain.
  absl::StatusOr<Attachment> CoAttachAbove(MemoryChain& chain, std::vector<std::string>* heard)
      MILLRACE_MAY_SUSPEND {
    Attachment guest;
    NodeId filter;
    {
      GraphTransaction change(*graph_);
      filter = change.AddNode(std::make_unique<Listener>(heard), {.name = "listener"});
      change.AddChild(filter, Role::kFiltered, chain.top());
      guest = change.Attach(filter, {.holder = MakeHolder("drive1", "guest device")});
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    MILLRACE_RETURN_IF_ERROR(CoOpenNode(*graph_, filter));
    chain.guest.CoDetach();
    {
      GraphTransaction change(*graph_);
      change.SetPermissions(guest, GuestDevicePermissions());
      MILLRACE_RETURN_IF_ERROR(change.Commit().status());
    }
    return guest;
  }
};

TEST_F(GuestRequestKinds, ZeroesAndDiscardsComeAsTheyWereAsked) {
  std::vector<std::string> heard;
  Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_ASSIGN_OR_RETURN(MemoryChain chain, CoMakeMemoryChain(*graph_, {}, false));
    MILLRACE_ASSIGN_OR_RETURN(Attachment guest, CoAttachAbove(chain, &heard));
    GuestRequest request;
    request.bytes = 1024;
    request.operation = GuestOperation::kWriteZeroes;
    MILLRACE_RETURN_IF_ERROR(CoSubmit(guest, request));
    request.offset = 512;
    request.may_unmap = false;
    MILLRACE_RETURN_IF_ERROR(CoSubmit(guest, request));
    request.offset = 1024;
    request.operation = GuestOperation::kDiscard;
    MILLRACE_RETURN_IF_ERROR(CoSubmit(guest, request));
    guest.CoDetach();
    return absl::OkStatus();
  });
  EXPECT_THAT(heard, testing::ElementsAre("zeroes 0+1024", "zeroes 512+1024, keep the space",
                                          "discard 1024+1024"));
}

}  // namespace
}  // namespace millrace::guest_request_effects_test
