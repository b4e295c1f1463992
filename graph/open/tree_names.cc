#include "millrace/graph/open/tree_names.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "millrace/engine/base/printable_name.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kJson = "json:";

}  // namespace

absl::Status TreeNames::Resolve(NodeTree& tree, bool is_file) const {
  // Options alone name a plain file, whatever it looks like.
  if (tree.driver.empty() && is_file && tree.options.contains("filename")) tree.driver = "file";
  if (tree.filename.empty()) return absl::OkStatus();
  MILLRACE_ASSIGN_OR_RETURN(NodeTree named, Parse(tree));
  const bool is_whole_tree = IsJsonName(tree);
  const std::string name = std::move(tree.filename);
  tree.filename.clear();
  if ((is_file && !PassesNameOn(tree.driver)) || IsProtocol(tree.driver) || is_whole_tree) {
    AddMissing(tree, std::move(named));
    // A whole tree may have a name of its own, but none of the same kind again.
    if (!IsJsonName(tree)) return Resolve(tree, is_file);
    return absl::InvalidArgumentError(
        StrCat(DescribeTree(tree), ": a json: name in a json: name; write out the inner one"));
  }
  ChildTree* file = tree.FindChild("file");
  if (file == nullptr && IsFilterOverImage(tree.driver)) {
    NodeTree image;
    image.filename = name;
    image.is_plain_path = tree.is_plain_path;
    tree.children.push_back({"file", "", std::make_unique<NodeTree>(std::move(image))});
  } else if (file == nullptr) {
    tree.children.push_back({"file", "", std::make_unique<NodeTree>(std::move(named))});
  } else if (file->tree != nullptr && PassesNameOn(file->tree->driver)) {
    if (!file->tree->filename.empty()) return absl::OkStatus();
    file->tree->filename = name;
    file->tree->is_plain_path = tree.is_plain_path;
  } else if (file->tree != nullptr) {
    AddMissing(*file->tree, std::move(named));
  } else {
    return absl::InvalidArgumentError(StrCat(DescribeTree(tree),
                                             ": a file name and a reference to '", file->reference,
                                             "' exclude each other; give one of them"));
  }
  return absl::OkStatus();
}

bool TreeNames::NamesImage(const NodeTree& tree) const {
  if (!tree.filename.empty() || tree.options.contains("filename") || IsProtocol(tree.driver)) {
    return true;
  }
  return std::any_of(tree.children.begin(), tree.children.end(), [&](const ChildTree& child) {
    if (child.name == "backing") return false;
    return child.tree == nullptr ? !child.reference.empty() : NamesImage(*child.tree);
  });
}

// Whether the name is the tree of a node, not of the file below it.
bool TreeNames::IsJsonName(const NodeTree& tree) const {
  return !tree.is_plain_path && options_.parse_json_name &&
         tree.filename.compare(0, kJson.size(), kJson) == 0;
}

absl::StatusOr<NodeTree> TreeNames::Parse(const NodeTree& tree) const {
  if (IsJsonName(tree)) return options_.parse_json_name(tree.filename.substr(kJson.size()));
  if (!tree.is_plain_path) return ParseFileName(tree.filename);
  NodeTree named;
  named.driver = "file";
  named.options["filename"] = tree.filename;
  return named;
}

bool TreeNames::IsProtocol(const std::string& driver) const {
  return registry_.KindOf(driver) == NodeKind::kProtocol;
}

// QEMU puts a filter that is given a file's name onto the file as it is, whatever image is in it:
// the first write through it would destroy the image.
bool TreeNames::IsFilterOverImage(const std::string& driver) const {
  return registry_.KindOf(driver) == NodeKind::kFilter && PassesNameOn(driver) &&
         options_.on_raw_guessed_for_writing == nullptr;
}

bool TreeNames::PassesNameOn(const std::string& driver) const {
  const std::optional<NodeKind> kind = registry_.KindOf(driver);
  const bool has_names_of_its_own = driver == "blkdebug" || driver == "blkverify";
  return kind.has_value() && *kind != NodeKind::kProtocol && !has_names_of_its_own;
}

std::string NameOfTree(const NodeTree& tree) {
  const auto filename = tree.options.find("filename");
  if (filename != tree.options.end()) return filename->second;
  for (const ChildTree& child : tree.children) {
    if (child.name == "backing") continue;
    if (child.tree == nullptr) return child.reference;
    return NameOfTree(*child.tree);
  }
  return tree.node_name.empty() ? tree.driver : tree.node_name;
}

std::string DescribeTree(const NodeTree& tree) {
  std::string text = "open ";
  if (!tree.node_name.empty()) StrAppend(&text, "node '", PrintableName(tree.node_name), "' ");
  if (!tree.driver.empty()) StrAppend(&text, "(", PrintableName(tree.driver), ")");
  return text;
}

}  // namespace millrace
