#include "millrace/graph/node_tree.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/io/open_gate.h"

namespace millrace {
namespace {

NodeTree FileTree(std::string_view path) {
  NodeTree tree;
  tree.driver = "file";
  tree.options["filename"] = std::string(path);
  return tree;
}

absl::Status UnknownProtocol(std::string_view name) {
  const std::string protocol = PrintableName(name.substr(0, name.find(':')));
  Conflict conflict;
  conflict.reason = ConflictReason::kUnknownFormat;
  conflict.object = protocol;
  conflict.detail = "protocol";
  conflict.next_step = "write './' in front if it is a file of that name";
  return ConflictStatus(absl::StatusCode::kInvalidArgument, conflict,
                        StrCat("open '", PrintableName(name), "': there is no protocol '", protocol,
                               "'; ", conflict.next_step));
}

absl::StatusOr<NodeTree> ParseBlkdebug(std::string_view name, std::string_view rest) {
  const size_t colon = rest.find(':');
  if (colon == std::string_view::npos) {
    return absl::InvalidArgumentError(
        StrCat("open '", PrintableName(name),
               "': after 'blkdebug:' comes a configuration file's "
               "name, which may be empty, a ':' and the name of the image"));
  }
  absl::StatusOr<NodeTree> image = ParseFileName(rest.substr(colon + 1));
  if (!image.ok()) return image;
  NodeTree tree;
  tree.driver = "blkdebug";
  if (colon > 0) {
    const std::string config(rest.substr(0, colon));
    tree.options["config"] = config;
    tree.told.push_back({"config", config, JsonString(config), true});
  }
  tree.children.push_back({"image", "", std::make_unique<NodeTree>(*std::move(image))});
  return tree;
}

// "RAW:TEST"; the format of the second is guessed.
absl::StatusOr<NodeTree> ParseBlkverify(std::string_view name, std::string_view rest) {
  const size_t colon = rest.find(':');
  if (colon == std::string_view::npos) {
    return absl::InvalidArgumentError(StrCat("open '", PrintableName(name),
                                             "': after 'blkverify:' come the raw image's name, a "
                                             "':' and the name of the image to test"));
  }
  absl::StatusOr<NodeTree> raw = ParseFileName(rest.substr(0, colon));
  if (!raw.ok()) return raw;
  NodeTree test;
  test.filename = std::string(rest.substr(colon + 1));
  NodeTree tree;
  tree.driver = "blkverify";
  tree.children.push_back({"raw", "", std::make_unique<NodeTree>(*std::move(raw))});
  tree.children.push_back({"test", "", std::make_unique<NodeTree>(std::move(test))});
  return tree;
}

}  // namespace

ChildTree* NodeTree::FindChild(std::string_view wanted) {
  const auto found = std::find_if(children.begin(), children.end(),
                                  [&](const ChildTree& child) { return child.name == wanted; });
  return found == children.end() ? nullptr : &*found;
}

void AddMissing(NodeTree& tree, NodeTree base) {
  const bool is_other_driver =
      !tree.driver.empty() && !base.driver.empty() && tree.driver != base.driver;
  if (tree.filename.empty()) {
    tree.filename = std::move(base.filename);
    tree.is_plain_path = base.is_plain_path;
  }
  if (tree.driver.empty()) tree.driver = std::move(base.driver);
  if (tree.node_name.empty()) tree.node_name = std::move(base.node_name);
  // What is said to one driver means nothing to another.
  if (is_other_driver) return;
  // Insertion leaves alone what is there.
  tree.options.insert(base.options.begin(), base.options.end());
  for (ToldOption& option : base.told) {
    const bool is_there = std::any_of(tree.told.begin(), tree.told.end(),
                                      [&](const auto& own) { return own.name == option.name; });
    if (!is_there) tree.told.push_back(std::move(option));
  }
  for (ChildTree& child : base.children) {
    ChildTree* own = tree.FindChild(child.name);
    if (own == nullptr) {
      tree.children.push_back(std::move(child));
    } else if (own->tree != nullptr && child.tree != nullptr) {
      AddMissing(*own->tree, std::move(*child.tree));
    }
  }
  if (!tree.is_read_only) tree.is_read_only = base.is_read_only;
  if (!tree.falls_back_to_read_only) tree.falls_back_to_read_only = base.falls_back_to_read_only;
  if (!tree.direct) tree.direct = base.direct;
  if (!tree.ignores_flushes) tree.ignores_flushes = base.ignores_flushes;
  if (!tree.shares_by_force) tree.shares_by_force = base.shares_by_force;
  if (!tree.passes_discards) tree.passes_discards = base.passes_discards;
  if (tree.detect_zeroes == DetectZeroes::kOff) tree.detect_zeroes = base.detect_zeroes;
}

absl::StatusOr<NodeTree> ParseFileName(std::string_view name) {
  if (!NamesProtocol(name)) return FileTree(name);
  const size_t colon = name.find(':');
  const std::string_view protocol = name.substr(0, colon);
  const std::string_view rest = name.substr(colon + 1);
  if (protocol == "file") return FileTree(rest);
  if (protocol == "blkdebug") return ParseBlkdebug(name, rest);
  if (protocol == "blkverify") return ParseBlkverify(name, rest);
  if ((protocol == "null-co" || protocol == "null-aio") && rest == "//") {
    NodeTree tree;
    tree.driver = std::string(protocol);
    return tree;
  }
  return UnknownProtocol(name);
}

}  // namespace millrace
