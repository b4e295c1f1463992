// Section A: streams of one drive.
//
//   test.img (qcow2, drive0, through blkdebug) <- mid.img (qcow2, node mid) <- backing.img (raw,
//   node base); 512 bytes of 1 at 0 in backing.img and at 512 K in mid.img.
#include <memory>
#include <string>
#include <utility>

#include "examples/iotest_030/cases.h"
#include "examples/iotest_030/machine.h"

namespace millrace {
namespace {

constexpr uint64_t kKiB = 1024;

NodeTree Named(std::string node_name) {
  NodeTree tree;
  tree.node_name = std::move(node_name);
  return tree;
}

void SetBacking(NodeTree& tree, NodeTree backing) {
  tree.children.push_back({"backing", "", std::make_unique<NodeTree>(std::move(backing))});
}

void CoStartOneDrive(Machine& m) MILLRACE_MAY_SUSPEND {
  m.CoCreate({.name = "backing.img", .format = "raw", .bytes = kMiB});
  m.CoCreate({.name = "mid.img", .bytes = kMiB, .backing = "backing.img"});
  m.CoCreate({.name = "test.img", .bytes = kMiB, .backing = "mid.img"});
  m.CoFill("backing.img", 1, 0, 512);
  m.CoFill("mid.img", 1, 512 * kKiB, 512);
  NodeTree mid = Named("mid");
  SetBacking(mid, Named("base"));
  NodeTree test = Named("test");
  test.driver = "qcow2";
  test.filename = "blkdebug::" + m.Path("test.img");
  SetBacking(test, std::move(mid));
  m.CoOpenDrive(std::move(test));
}

void CoStream(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.CoStart(Stream{.device = "drive0"});
  m.CoEndWell({"drive0"});
  m.ExpectChain("test");
  m.CoPowerOff();
  m.CoExpectSameMap("test.img", "backing.img");
}

void CoStreamIntermediate(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.CoStart(Stream{.device = "mid", .id = "stream-mid"});
  m.CoEndWell({"stream-mid"});
  m.ExpectChain("test <- mid");
  m.CoPowerOff();
  m.CoExpectSameMap("mid.img", "backing.img");
  m.CoExpectShows("test.img", 1, 0, 512);
  m.CoExpectShows("test.img", 1, 512 * kKiB, 512);
}

void CoStreamPause(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.Hold();
  m.CoStart(Stream{.device = "drive0"});
  m.CoWaitUntilHeld();
  m.Pause("drive0");
  m.Release();
  m.CoWaitFor("drive0", JobState::kPaused);
  const JobInfo paused = m.Query("drive0");
  m.Expect(paused.is_pause_requested && !paused.is_busy, "a paused job should not be busy");
  // A guest's requests pass meanwhile; the job does not use the time.
  for (int i = 0; i < 20; ++i) m.CoGuestWrites(7, 1000 * kKiB, 512);
  m.Expect(m.Query("drive0").current == paused.current, "a paused job has made progress");
  m.Resume("drive0");
  m.CoEndWell({"drive0"});
  m.ExpectChain("test");
  m.CoPowerOff();
  m.CoExpectSameMap("test.img", "backing.img");
  m.CoExpectShows("test.img", 1, 512 * kKiB, 512);
  m.CoExpectShows("test.img", 7, 1000 * kKiB, 512);
}

void CoStreamNoOp(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.CoStart(Stream{.device = "drive0", .base = "mid.img"});
  m.CoEndWell({"drive0"});
  m.ExpectChain("test <- mid <- base");
  m.CoPowerOff();
  m.CoExpectEmptyMap("test.img");
}

void CoStreamPartial(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.CoStart(Stream{.device = "drive0", .base = "backing.img"});
  m.CoEndWell({"drive0"});
  m.ExpectChain("test <- base");
  m.CoPowerOff();
  m.CoExpectSameMap("test.img", "mid.img");
  m.CoExpectShows("test.img", 1, 0, 512);
}

void CoDeviceNotFound(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.CoRefuses(Stream{.device = "nonexistent"},
              "Cannot find device='nonexistent' nor node-name='nonexistent'");
  m.ExpectChain("test <- mid <- base");
}

void CoJobIdMissing(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.CoRefuses(Stream{.device = "mid"}, "Invalid job ID ''");
  m.ExpectChain("test <- mid <- base");
}

void CoReadOnly(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartOneDrive(m);
  m.CoCreate({.name = "ro-top.img", .bytes = kMiB});
  NodeTree file;
  file.driver = "file";
  file.filename = m.Path("ro-top.img");
  file.is_plain_path = true;
  file.is_read_only = true;
  NodeTree top = Named("ro-top");
  top.driver = "qcow2";
  top.is_read_only = true;
  top.children.push_back({"file", "", std::make_unique<NodeTree>(std::move(file))});
  top.children.push_back({"backing", "mid", nullptr});
  m.CoAddNode(std::move(top));
  m.CoRefuses(Stream{.device = "ro-top", .base_node = "base", .id = "stream"},
              "Block node is read-only");
  m.CoRemoveNode("ro-top");
  m.ExpectChain("test <- mid <- base");
}

}  // namespace

absl::Span<const Case> OneDriveCases() {
  static constexpr Case kCases[] = {
      {'A', "stream", &CoStream},
      {'A', "stream_intermediate", &CoStreamIntermediate},
      {'A', "stream_pause", &CoStreamPause},
      {'A', "stream_no_op", &CoStreamNoOp},
      {'A', "stream_partial", &CoStreamPartial},
      {'A', "device_not_found", &CoDeviceNotFound},
      {'A', "job_id_missing", &CoJobIdMissing},
      {'A', "read_only", &CoReadOnly},
  };
  return kCases;
}

}  // namespace millrace
