// Section B: several jobs at once on a chain of nine.
//
//   img-8 (node8, drive0) <- img-7 <- ... <- img-0 (raw); 16 M. Counted from the top, the
//   odd-numbered images hold 2 M or 4 M of 0xFF in turn, at steps of 4 M. All but the top are
//   read-only, as nobody writes them.
#include <memory>
#include <string>
#include <utility>

#include "examples/iotest_030/cases.h"
#include "examples/iotest_030/machine.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr int kTop = 8;

std::string Image(int number) { return StrCat("img-", number); }
std::string Node(int number) { return StrCat("node", number); }
std::string Busy(std::string_view node, std::string_view job) {
  return StrCat("Node '", node, "' is busy: block device is in use by block job: ", job);
}

void CoStartChainOfNine(Machine& m) MILLRACE_MAY_SUSPEND {
  m.CoCreate({.name = "img-0", .format = "raw", .bytes = 16 * kMiB});
  for (int i = 1; i <= kTop; ++i) {
    m.CoCreate({.name = Image(i), .bytes = 16 * kMiB, .backing = Image(i - 1)});
  }
  uint64_t step = 0;
  for (int i = kTop - 1; i > 0; i -= 2, ++step) {
    m.CoFill(Image(i), 0xff, step * 4 * kMiB, (step % 2 == 0 ? 2 : 4) * kMiB);
  }
  NodeTree tree;
  tree.node_name = Node(0);
  for (int i = 1; i <= kTop; ++i) {
    NodeTree above;
    above.node_name = Node(i);
    above.children.push_back({"backing", "", std::make_unique<NodeTree>(std::move(tree))});
    tree = std::move(above);
  }
  tree.driver = "qcow2";
  tree.filename = m.Path(Image(kTop));
  m.CoOpenDrive(std::move(tree));
}

void CoStreamParallel(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  for (int i = 2; i <= kTop; i += 2) {
    m.CoStart(Stream{
        .device = Node(i), .bottom = Node(i - 1), .id = "stream-" + Node(i), .speed = kSlow});
  }
  for (int i = kTop; i > 0; i -= 2) m.LetGo({"stream-" + Node(i)});
  m.CoEndWell({"stream-node2", "stream-node4", "stream-node6", "stream-node8"});
  m.ExpectChain("node8 <- node6 <- node4 <- node2 <- node0");
  m.CoPowerOff();
  for (int i = 2; i <= kTop; i += 2) m.CoExpectSameMap(Image(i), Image(i - 1));
}

void CoOverlapping1(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoStart(Stream{.device = "node4",
                   .base = "img-1",
                   .id = "stream-node4",
                   .filter = "stream-filter",
                   .speed = kSlow});
  m.CoRefuses(Stream{.device = "node5", .base = "img-2", .id = "a"},
              Busy("stream-filter", "stream"));
  m.CoRefuses(Stream{.device = "node3", .base = "img-2", .id = "b"}, Busy("node3", "stream"));
  m.CoRefuses(Stream{.device = "node4", .id = "c"}, Busy("node4", "stream"));
  m.CoRefuses(Commit{.device = "drive0", .base = "img-4"}, Busy("stream-filter", "stream"));
  m.CoRefuses(Commit{.device = "drive0", .top = "img-3", .base = "img-1"}, Busy("node3", "stream"));
  // This one would have to rewrite the backing file's name in node2.
  m.CoRefuses(Commit{.device = "drive0", .top = "img-1", .base = "img-0"}, Busy("node2", "stream"));
  m.LetGo({"stream-node4"});
  m.CoEndWell({"stream-node4"});
  m.ExpectChain("node8 <- node7 <- node6 <- node5 <- node4 <- node1 <- node0");
}

void CoOverlapping2(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoStart(Commit{
      .device = "drive0", .top = "img-5", .base = "img-3", .id = "commit-node3", .speed = kSlow});
  m.CoRefuses(Stream{.device = "node3", .id = "a"}, Busy("node3", "commit"));
  m.CoRefuses(Stream{.device = "node6", .base = "img-2", .id = "b"}, Busy("node5", "commit"));
  m.CoRefuses(Stream{.device = "node4", .base = "img-2", .id = "c"}, Busy("node4", "commit"));
  m.CoRefuses(Stream{.device = "node6", .base = "img-4", .id = "d"}, Busy("node5", "commit"));
  // A commit blocks the active layer too.
  m.CoRefuses(Stream{.device = "drive0", .base = "img-5", .id = "e"}, Busy("drive0", "commit"));
  m.LetGo({"commit-node3"});
  m.CoEndWell({"commit-node3"});
  m.ExpectChain("node8 <- node7 <- node6 <- node3 <- node2 <- node1 <- node0");
}

void CoOverlapping3(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoStart(Commit{.device = "drive0", .base = "img-3", .id = "commit-drive0", .speed = kSlow});
  m.CoRefuses(Stream{.device = "node5", .base = "img-3", .id = "a"}, Busy("node5", "commit"));
  m.LetGo({"commit-drive0"});
  m.CoCompleteWhenReady("commit-drive0");
  m.CoEndWell({"commit-drive0"});
  m.ExpectChain("node3 <- node2 <- node1 <- node0");
}

void CoOverlapping4(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoStart(Commit{.device = "drive0",
                   .top = "img-2",
                   .base = "img-0",
                   .id = "commit-node0",
                   .filter = "commit-filter",
                   .speed = kSlow});
  // The commit must be able to take its filter out, so nobody may rely on a link to it.
  m.CoRefuses(Stream{.device = "node4", .base_node = "node2", .id = "a"},
              "Cannot freeze 'backing' link to 'commit-filter'");
  m.LetGo({"commit-node0"});
  m.CoEndWell({"commit-node0"});
  m.ExpectChain("node8 <- node7 <- node6 <- node5 <- node4 <- node3 <- node0");
}

void CoOverlapping5(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoStart(Commit{.device = "drive0",
                   .top = "img-2",
                   .base = "img-0",
                   .id = "commit-node0",
                   .filter = "commit-filter",
                   .speed = kSlow});
  // A stream does not own its base, so that may be the filter of another job.
  m.CoStart(Stream{
      .device = "node4", .base_node = "commit-filter", .id = "stream-node4", .speed = kSlow});
  m.LetGo({"commit-node0", "stream-node4"});
  m.CoEndWell({"commit-node0", "stream-node4"});
  m.ExpectChain("node8 <- node7 <- node6 <- node5 <- node4 <- node0");
}

void CoStreamCommit1(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoStart(Stream{.device = "node2", .base_node = "node0", .id = "node2"});
  m.CoStart(Commit{.device = "drive0", .base = "img-3"});
  m.CoCompleteWhenReady("drive0");
  m.CoEndWell({"node2", "drive0"});
  m.ExpectChain("node3 <- node2 <- node0");
}

void CoStreamCommit2(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoStart(Stream{.device = "node4", .base_node = "node0", .id = "node4", .speed = kSlow});
  m.CoStart(Commit{.device = "drive0", .base = "img-5", .speed = kSlow});
  m.LetGo({"node4", "drive0"});
  m.CoCompleteWhenReady("drive0");
  m.CoEndWell({"node4", "drive0"});
  m.ExpectChain("node5 <- node4 <- node0");
}

void CoStreamBaseNodeName(Machine& m) MILLRACE_MAY_SUSPEND {
  CoStartChainOfNine(m);
  m.CoRefuses(Stream{.device = "node4", .base_node = "none", .id = "stream"},
              "Cannot find device='' nor node-name='none'");
  m.CoRefuses(Stream{.device = "node4", .base_node = "node6", .id = "stream"},
              "Node 'node6' is not a backing image of 'node4'");
  m.CoRefuses(Stream{.device = "node4", .base_node = "node4", .id = "stream"},
              "Node 'node4' is not a backing image of 'node4'");
  m.CoRefuses(Stream{.device = "node4", .base = "img-2", .base_node = "node2", .id = "stream"},
              "'base' and 'base-node' cannot be specified at the same time");
  m.CoStart(Stream{.device = "node4", .base_node = "node2", .id = "stream"});
  m.CoEndWell({"stream"});
  m.ExpectChain("node8 <- node7 <- node6 <- node5 <- node4 <- node2 <- node1 <- node0");
  m.CoPowerOff();
  m.CoExpectSameMap("img-4", "img-3");
}

}  // namespace

absl::Span<const Case> ParallelCases() {
  static constexpr Case kCases[] = {
      {'B', "stream_parallel", &CoStreamParallel},
      {'B', "overlapping_1", &CoOverlapping1},
      {'B', "overlapping_2", &CoOverlapping2},
      {'B', "overlapping_3", &CoOverlapping3},
      {'B', "overlapping_4", &CoOverlapping4},
      {'B', "overlapping_5", &CoOverlapping5},
      {'B', "stream_commit_1", &CoStreamCommit1},
      {'B', "stream_commit_2", &CoStreamCommit2},
      {'B', "stream_base_node_name", &CoStreamBaseNodeName},
  };
  return kCases;
}

}  // namespace millrace
