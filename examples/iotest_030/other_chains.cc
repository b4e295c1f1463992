// Section C: a stream of one child of a quorum. Section D: a backing file that is shorter than the
// image.
#include <memory>
#include <string>
#include <utility>

#include "examples/iotest_030/cases.h"
#include "examples/iotest_030/machine.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// Three children, of which two must agree; each stands on a backing file with 1024 bytes of 0x55.
void CoStreamQuorum(Machine& m) MILLRACE_MAY_SUSPEND {
  NodeTree quorum;
  quorum.driver = "quorum";
  quorum.node_name = "quorum0";
  quorum.options["vote-threshold"] = "2";
  for (int i = 0; i < 3; ++i) {
    const std::string below = StrCat("below-", i, ".img");
    const std::string name = StrCat("child-", i, ".img");
    m.CoCreate({.name = below, .bytes = kMiB});
    m.CoFill(below, 0x55, 0, 1024);
    m.CoCreate({.name = name, .bytes = kMiB, .backing = below});
    NodeTree child;
    child.driver = "qcow2";
    child.node_name = StrCat("node", i);
    child.filename = m.Path(name);
    quorum.children.push_back(
        {StrCat("children.", i), "", std::make_unique<NodeTree>(std::move(child))});
  }
  m.CoOpenDrive(std::move(quorum));
  m.CoStart(Stream{.device = "node0", .id = "stream-node0"});
  m.CoEndWell({"stream-node0"});
  m.ExpectChain("quorum0");
  m.CoPowerOff();
  m.CoExpectSameMap("child-0.img", "below-0.img");
}

void CoStreamShortBacking(Machine& m) MILLRACE_MAY_SUSPEND {
  m.CoCreate({.name = "backing.img", .bytes = kMiB});
  m.CoCreate({.name = "test.img", .bytes = 2 * kMiB, .backing = "backing.img"});
  NodeTree test;
  test.driver = "qcow2";
  test.node_name = "test";
  test.filename = m.Path("test.img");
  m.CoOpenDrive(std::move(test));
  m.CoStart(Stream{.device = "drive0"});
  m.CoEndWell({"drive0"});
  m.ExpectChain("test");
}

}  // namespace

absl::Span<const Case> OtherChainCases() {
  static constexpr Case kCases[] = {
      {'C', "stream_quorum", &CoStreamQuorum},
      {'D', "stream_short_backing", &CoStreamShortBacking},
  };
  return kCases;
}

}  // namespace millrace
