#include "examples/hypervisor/block/tree_options.h"

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/block/qcow2_options.h"
#include "examples/hypervisor/block/qemu_io.h"
#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/json_text.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/filters/break_points.h"

namespace millrace {
namespace {

std::string TextOf(const json::value& value) {
  if (value.is_bool()) return value.get_bool() ? "on" : "off";
  if (value.is_string()) return std::string(View(value.get_string()));
  if (value.is_int64()) return StrCat(value.get_int64());
  if (value.is_uint64()) return StrCat(value.get_uint64());
  return json::serialize(value);
}

class TreeReader {
 public:
  TreeReader(TreeStyle style, bool opens) : style_(style), opens_(opens) {}

  // The first error stays in the reader.
  NodeTree Read(ArgumentReader& reader, size_t depth, bool must_name_driver) {
    NodeTree tree;
    if (depth > kNodeTreeDepthMax) {
      reader.Fail(GenericError("Block node options are nested too deeply"));
      return tree;
    }
    ReadDriver(reader, must_name_driver, &tree);
    ReadCommon(reader, &tree);
    // What is below is as direct as what is above, unless it says otherwise.
    const bool direct_above = is_direct_;
    is_direct_ = tree.direct.value_or(direct_above);
    const DriverSchema* schema = FindDriverSchema(tree.driver);
    if (schema != nullptr) {
      // In the order of QEMU's schema, which tells what is wrong first.
      const bool begins_with_children = tree.driver != "throttle";
      for (const bool is_turn_of_children : {begins_with_children, !begins_with_children}) {
        if (is_turn_of_children) {
          for (const DriverChild& child : schema->children) ReadChild(reader, child, depth, &tree);
        } else {
          for (const DriverOption& option : schema->options) ReadOption(reader, option, &tree);
        }
      }
      if (tree.driver == "qcow2") RefuseOfOtherImages(reader);
    } else {
      ReadAnything(reader, depth, &tree);
    }
    if (absl::Status status = reader.Finish(); !status.ok()) reader.Fail(std::move(status));
    if (absl::Status status = CheckTogether(&tree); !status.ok()) reader.Fail(std::move(status));
    is_direct_ = direct_above;
    return tree;
  }

 private:
  static absl::Status CheckQuorum(const NodeTree& tree) {
    const auto is = [&](const char* name) {
      return std::any_of(tree.told.begin(), tree.told.end(), [&](const ToldOption& option) {
        return option.name == name && option.text == "on";
      });
    };
    const auto children = static_cast<size_t>(std::count_if(
        tree.children.begin(), tree.children.end(),
        [](const ChildTree& child) { return child.name.compare(0, 9, "children.") == 0; }));
    if (children < 1) return GenericError("Number of provided children must be 1 or more");
    const auto threshold = tree.options.find("vote-threshold");
    const std::optional<uint64_t> votes =
        threshold == tree.options.end() ? std::nullopt : ParseIoNumber(threshold->second);
    if (!votes || *votes < 1) {
      return GenericError("Parameter 'vote-threshold' expects a value >= 1");
    }
    if (*votes > children) return GenericError("threshold may not exceed children count");
    // Nobody votes then: what is said of votes has no meaning.
    const std::string* const pattern = FindTold(tree, "read-pattern");
    if (pattern != nullptr && *pattern == "fifo") return absl::OkStatus();
    if (is("blkverify") && (children != 2 || *votes != 2)) {
      return GenericError(
          "blkverify=on can only be set if there are exactly two files and vote-threshold is 2");
    }
    if (is("blkverify") && is("rewrite-corrupted")) {
      return GenericError("rewrite-corrupted=on cannot be used with blkverify=on");
    }
    if (is("blkverify")) {
      return GenericError(
          "quorum's blkverify=on is not supported: use vote-threshold=2 and read the events");
    }
    return absl::OkStatus();
  }

  static const std::string* FindTold(const NodeTree& tree, std::string_view name) {
    for (const ToldOption& option : tree.told) {
      if (option.name == name) return &option.text;
    }
    return nullptr;
  }

  static absl::Status CheckNull(const NodeTree& tree) {
    const std::string* const latency = FindTold(tree, "latency-ns");
    if (latency != nullptr && latency->starts_with('-')) {
      return GenericError("latency-ns is invalid");
    }
    return CheckSizes(tree, {"size"});
  }

  static absl::Status CheckSizes(const NodeTree& tree, std::initializer_list<const char*> names) {
    for (const char* name : names) {
      const std::string* const number = FindTold(tree, name);
      if (number == nullptr || !number->starts_with('-')) continue;
      return GenericError(
          StrCat("Parameter '", name, "' expects a non-negative number below 2^64"));
    }
    return absl::OkStatus();
  }

  // No image that is open here is encrypted, nor has its data elsewhere.
  static void RefuseOfOtherImages(ArgumentReader& reader) {
    constexpr std::string_view kFormats[] = {"aes", "luks"};
    if (auto encryption = reader.OptionalObject("encrypt")) {
      const size_t format = encryption->Enum("format", kFormats);
      encryption->OptionalString("key-secret");
      if (absl::Status status = encryption->Finish(); !status.ok()) reader.Fail(std::move(status));
      reader.Fail(GenericError(StrCat(
          "No encryption in image header, but options specified format '", kFormats[format], "'")));
    }
    if (reader.OptionalAny("data-file") != nullptr) {
      reader.Fail(
          GenericError("'data-file' can only be set for images with an external data file"));
    }
  }

  // What options say only together.
  absl::Status CheckTogether(NodeTree* tree) const {
    if (tree->driver == "qcow2") return SetQcow2Options(*tree);
    if (tree->driver == "quorum") return CheckQuorum(*tree);
    if (tree->driver == "raw") return CheckSizes(*tree, {"offset", "size"});
    if (tree->driver == "blkdebug") {
      return CheckSizes(*tree, {"align", "max-transfer", "opt-write-zero", "max-write-zero",
                                "opt-discard", "max-discard"});
    }
    if (tree->driver == "null-co" || tree->driver == "null-aio") return CheckNull(*tree);
    if (const auto name = tree->options.find("filename");
        tree->driver == "file" && name != tree->options.end() && name->second.empty()) {
      return GenericError("The 'file' block driver requires a file name");
    }
    if (tree->driver != "file" || is_direct_) return absl::OkStatus();
    for (const ToldOption& option : tree->told) {
      if (option.name == "aio" && option.text == "native" && (opens_ || tree->direct.has_value())) {
        return GenericError(
            "aio=native was specified, but it requires cache.direct=on, which was not specified.");
      }
    }
    return absl::OkStatus();
  }

  void ReadDriver(ArgumentReader& reader, bool must_name_driver, NodeTree* tree) {
    std::optional<std::string> driver;
    if (must_name_driver) {
      driver = reader.String("driver");
    } else {
      driver = reader.OptionalString("driver");
    }
    if (!driver || !reader.ok()) return;
    tree->driver = *driver;
    // What QEMU knows is refused when it is to be opened: a reopen finds it changed first.
    if (FindDriverSchema(*driver) != nullptr || IsForeignDriver(*driver)) return;
    reader.Fail(
        style_ == TreeStyle::kBlockdev
            ? GenericError(StrCat("Parameter 'driver' does not accept value '", *driver, "'"))
            : GenericError(StrCat("Unknown driver '", *driver, "'")));
  }

  static void ReadCommon(ArgumentReader& reader, NodeTree* tree) {
    constexpr std::string_view kDiscard[] = {"ignore", "unmap", "off", "on"};
    constexpr std::string_view kDetect[] = {"off", "on", "unmap"};
    if (auto name = reader.OptionalString("node-name")) tree->node_name = *name;
    if (auto discard = reader.OptionalEnum("discard", kDiscard)) {
      tree->passes_discards = *discard % 2 == 1;
    }
    if (auto cache = reader.OptionalObject("cache")) {
      tree->direct = cache->OptionalBool("direct");
      tree->ignores_flushes = cache->OptionalBool("no-flush");
      if (absl::Status status = cache->Finish(); !status.ok()) reader.Fail(std::move(status));
    }
    tree->is_read_only = reader.OptionalBool("read-only");
    tree->falls_back_to_read_only = reader.OptionalBool("auto-read-only");
    tree->shares_by_force = reader.OptionalBool("force-share");
    if (auto detect = reader.OptionalEnum("detect-zeroes", kDetect)) {
      tree->detect_zeroes = static_cast<DetectZeroes>(*detect);
    }
  }

  // Keeps an option as it was written, and hands it to the library under its name there.
  void Tell(const DriverOption& option, std::string name, const json::value& value,
            const std::string& text, NodeTree* tree) const {
    if (!option.library_name.empty()) {
      const std::string suffix = name.substr(option.name.size());
      tree->options[StrCat(option.library_name, suffix)] = text;
    }
    std::string written = json::serialize(value);
    // What a schema reads has its type, however it was written.
    if (style_ == TreeStyle::kBlockdev && option.kind == OptionKind::kNumber) written = text;
    if (style_ == TreeStyle::kBlockdev && option.kind == OptionKind::kFlag) {
      written = text == "on" ? "true" : "false";
    }
    tree->told.push_back({std::move(name), text, std::move(written), option.changes_content});
  }

  std::optional<std::string> ReadScalar(ArgumentReader& reader, const DriverOption& option) const {
    switch (option.kind) {
      case OptionKind::kNumber:
        if (style_ == TreeStyle::kDrive) {
          if (auto size = reader.OptionalSize(option.name)) return StrCat(*size);
        } else if (auto number = reader.OptionalInteger(option.name)) {
          return StrCat(*number);
        }
        return std::nullopt;
      case OptionKind::kFlag:
        if (auto flag = reader.OptionalBool(option.name)) return *flag ? "on" : "off";
        return std::nullopt;
      case OptionKind::kChoice:
        if (auto choice = reader.OptionalEnum(option.name, option.choices)) {
          return std::string(option.choices[*choice]);
        }
        return std::nullopt;
      default:
        return reader.OptionalString(option.name);
    }
  }

  void ReadOption(ArgumentReader& reader, const DriverOption& option, NodeTree* tree) {
    if (option.kind == OptionKind::kRules || option.kind == OptionKind::kTexts) {
      return ReadList(reader, option, tree);
    }
    if (option.kind == OptionKind::kOverlapCheck) return ReadOverlapCheck(reader, option, tree);
    if (option.is_required && style_ == TreeStyle::kBlockdev && !reader.Has(option.name)) {
      reader.FailMissing(option.name);
    }
    std::optional<std::string> text = ReadScalar(reader, option);
    if (!text || !reader.ok()) return;
    Tell(option, std::string(option.name), *reader.OptionalAny(option.name), *text, tree);
  }

  // The checks are always all made; what is asked for is at most that.
  void ReadOverlapCheck(ArgumentReader& reader, const DriverOption& option, NodeTree* tree) const {
    constexpr std::string_view kModes[] = {"none", "constant", "cached", "all"};
    const json::value* value = reader.OptionalAny(option.name);
    if (value == nullptr) return;
    if (value->is_string()) {
      if (!reader.OptionalEnum(option.name, kModes)) return;
      return Tell(option, std::string(option.name), *value, TextOf(*value), tree);
    }
    if (!value->is_object()) {
      return reader.Fail(GenericError(
          StrCat("Invalid parameter type for '", option.name, "', expected: Qcow2OverlapChecks")));
    }
    std::optional<ArgumentReader> flags = reader.OptionalObject(option.name);
    if (!flags) return;
    flags->OptionalEnum("template", kModes);
    for (const char* table :
         {"main-header", "active-l1", "active-l2", "refcount-table", "refcount-block",
          "snapshot-table", "inactive-l1", "inactive-l2", "bitmap-directory"}) {
      flags->OptionalBool(table);
    }
    if (absl::Status status = flags->Finish(); !status.ok()) reader.Fail(std::move(status));
    for (const auto& member : value->get_object()) {
      Tell(option, StrCat(option.name, ".", View(member.key())), member.value(),
           TextOf(member.value()), tree);
    }
  }

  void ReadList(ArgumentReader& reader, const DriverOption& option, NodeTree* tree) const {
    const json::array* list = reader.OptionalArray(option.name);
    if (list == nullptr) return;
    // In QEMU's flat dictionaries a list is its elements: one that is empty stays, and is an option
    // that nobody knows. Of permissions it says so only after all else that may be wrong.
    if (list->empty() && option.kind == OptionKind::kRules) {
      tree->options[std::string(option.name)] = "[]";
    }
    for (size_t i = 0; i < list->size(); ++i) {
      const json::value& element = (*list)[i];
      const std::string prefix = StrCat(option.name, ".", i);
      const std::string path =
          reader.style() == ScalarStyle::kText ? prefix : StrCat(option.name, "[", i, "]");
      if (option.kind == OptionKind::kTexts) {
        CheckPermission(reader, path, element);
        Tell(option, prefix, element, TextOf(element), tree);
        continue;
      }
      if (!element.is_object()) {
        reader.Fail(
            GenericError(StrCat("Invalid parameter type for '", path, "', expected: object")));
        return;
      }
      if (style_ == TreeStyle::kBlockdev) {
        CheckRule(reader.Nested(path, element.get_object()), option.name == "set-state");
      }
      for (const auto* member : InRuleOrder(element.get_object())) {
        const std::string text = TextOf(member->value());
        if (View(member->key()) == "event" && !IsFaultEvent(text)) {
          reader.Fail(GenericError(StrCat("Parameter 'event' does not accept value '", text, "'")));
          return;
        }
        TellOfRule(option, prefix, View(member->key()), member->value(), tree);
      }
    }
  }

  static void CheckPermission(ArgumentReader& reader, std::string_view path,
                              const json::value& value) {
    if (!value.is_string()) {
      reader.Fail(
          GenericError(StrCat("Invalid parameter type for '", path, "', expected: string")));
      return;
    }
    const std::string_view name = View(value.get_string());
    for (const char* known : {"consistent-read", "write", "write-unchanged", "resize"}) {
      if (name == known) return;
    }
    // An element of a list has no name.
    reader.Fail(GenericError(StrCat("Parameter 'null' does not accept value '", name, "'")));
  }

  // Members of rules have types where a schema says so.
  static void CheckRule(ArgumentReader rule, bool sets_state) {
    constexpr std::string_view kIoTypes[] = {"read",    "write", "write-zeroes",
                                             "discard", "flush", "block-status"};
    const std::string event = rule.String("event");
    if (!IsFaultEvent(event)) {
      rule.Fail(GenericError(StrCat("Parameter 'event' does not accept value '", event, "'")));
    }
    rule.OptionalInteger("state");
    if (sets_state) {
      rule.Integer("new_state");
    } else {
      rule.OptionalEnum("iotype", kIoTypes);
      rule.OptionalInteger("errno");
      rule.OptionalInteger("sector");
      rule.OptionalBool("once");
      rule.OptionalBool("immediately");
    }
    if (absl::Status status = rule.Finish(); !status.ok()) rule.Fail(std::move(status));
  }

  // A rule's "errno" comes before its "event" in names: the two share a place in QEMU's dictionary,
  // where what was put in last stands first.
  static std::vector<const json::key_value_pair*> InRuleOrder(const json::object& rule) {
    std::vector<const json::key_value_pair*> members;
    for (const auto& member : rule) members.push_back(&member);
    std::stable_partition(members.begin(), members.end(), [](const json::key_value_pair* member) {
      return View(member->key()) == "errno";
    });
    return members;
  }

  // A rule's members have types that a schema knows: "once" is true or false, "errno" a number.
  void TellOfRule(const DriverOption& option, const std::string& prefix, std::string_view name,
                  const json::value& value, NodeTree* tree) const {
    std::string text = TextOf(value);
    const bool is_flag = name == "once" || name == "immediately";
    const bool is_number = ParseIoNumber(text).has_value();
    if (style_ == TreeStyle::kBlockdev && value.is_string() && is_flag) {
      const bool is_on = text == "on";
      return Tell(option, StrCat(prefix, ".", name), json::value(is_on), text, tree);
    }
    if (style_ == TreeStyle::kBlockdev && value.is_string() && is_number) {
      return Tell(option, StrCat(prefix, ".", name), json::value(*ParseIoNumber(text)), text, tree);
    }
    Tell(option, StrCat(prefix, ".", name), value, text, tree);
  }

  void ReadChild(ArgumentReader& reader, const DriverChild& child, size_t depth, NodeTree* tree) {
    if (child.need == ChildNeed::kList) {
      const json::array* list = reader.OptionalArray(child.name);
      if (list == nullptr && style_ == TreeStyle::kBlockdev) reader.FailMissing(child.name);
      for (size_t i = 0; list != nullptr && i < list->size(); ++i) {
        AddChild(reader, StrCat(child.name, ".", i), StrCat(child.name, "[", i, "]"), (*list)[i],
                 depth, tree);
      }
      return;
    }
    const json::value* value = reader.OptionalAny(child.name);
    if (value != nullptr) {
      AddChild(reader, std::string(child.name), std::string(child.name), *value, depth, tree);
    } else if (child.need == ChildNeed::kRequired && style_ == TreeStyle::kBlockdev) {
      reader.FailMissing(child.name);
    }
  }

  void AddChild(ArgumentReader& reader, std::string edge, const std::string& path,
                const json::value& value, size_t depth, NodeTree* tree) {
    if (!reader.ok()) return;
    ChildTree child{std::move(edge), "", nullptr};
    if (value.is_object()) {
      ArgumentReader nested = reader.Nested(path, value.get_object());
      child.tree =
          std::make_unique<NodeTree>(Read(nested, depth + 1, style_ == TreeStyle::kBlockdev));
    } else if (value.is_string()) {
      child.reference = std::string(View(value.get_string()));
      // In QEMU an empty reference means the same as null.
      if (child.name != "backing" && child.reference.empty()) {
        reader.Fail(GenericError("Cannot find device='' nor node-name=''"));
      }
    } else if (!value.is_null() || child.name != "backing") {
      reader.Fail(
          GenericError(StrCat("Invalid parameter type for '", path, "', expected: BlockdevRef",
                              child.name == "backing" ? "OrNull" : "")));
    }
    tree->children.push_back(std::move(child));
  }

  // A node whose driver nobody has named yet: what is nested is a child, the rest are options.
  void ReadAnything(ArgumentReader& reader, size_t depth, NodeTree* tree) {
    if (!reader.ok()) return;
    for (const auto& member : reader.options()) {
      const std::string name(View(member.key()));
      const bool is_common = name == "node-name" || name == "discard" || name == "cache" ||
                             name == "read-only" || name == "auto-read-only" ||
                             name == "force-share" || name == "detect-zeroes" || name == "driver";
      if (is_common) continue;
      reader.OptionalAny(name);
      const bool is_child = name == "file" || name == "backing" || name == "image";
      if (is_child || member.value().is_object()) {
        AddChild(reader, name, name, member.value(), depth, tree);
      } else {
        tree->options[name] = TextOf(member.value());
        tree->told.push_back(
            {name, TextOf(member.value()), json::serialize(member.value()), false});
      }
    }
  }

  const TreeStyle style_;
  const bool opens_;
  bool is_direct_ = false;  // of the node that is being read, as far as it is known
};

}  // namespace

absl::StatusOr<NodeTree> ReadNodeTree(ArgumentReader& reader, TreeStyle style, bool opens) {
  TreeReader trees(style, opens);
  NodeTree tree = trees.Read(reader, 1, style == TreeStyle::kBlockdev);
  const absl::Status status = reader.Finish();
  if (status.ok()) return tree;
  // What a schema calls unexpected, the driver itself does not know.
  const std::optional<QmpErrorReply> told = QmpErrorOf(status);
  const std::vector<std::string> words = absl::StrSplit(told ? told->desc : std::string(), '\'');
  if (style != TreeStyle::kDrive || tree.driver.empty() || words.size() != 3 ||
      words[2] != " is unexpected" || absl::StrContains(words[1], ".")) {
    return status;
  }
  return GenericError(UnknownOptionText(tree.driver, words[1]));
}

absl::Status CheckRawSize(const NodeTree& tree) {
  for (const ToldOption& option : tree.told) {
    if (option.name == "size" && ParseIoNumber(option.text).value_or(0) % 512 != 0) {
      return GenericError("Specified size is not multiple of 512");
    }
  }
  return absl::OkStatus();
}

std::string UnknownOptionText(std::string_view driver, std::string_view option) {
  for (const std::string_view protocol :
       {"file", "null-co", "null-aio", "nbd", "blkdebug", "blkverify"}) {
    if (driver == protocol) {
      return StrCat("Block protocol '", driver, "' doesn't support the option '", option, "'");
    }
  }
  return StrCat("Block format '", driver, "' does not support the option '", option, "'");
}

absl::StatusOr<NodeTree> ParseJsonFileName(std::string_view text) {
  absl::StatusOr<json::value> value = ParseJson(text);
  if (!value.ok()) {
    const std::optional<QmpErrorReply> told = QmpErrorOf(value.status());
    return GenericError(StrCat("Could not parse the JSON options: ",
                               told ? told->desc : std::string(value.status().message())));
  }
  if (!value->is_object()) return GenericError("Invalid JSON object given");
  MILLRACE_ASSIGN_OR_RETURN(const json::object nested, NestDottedMembers(value->get_object()));
  ArgumentReader reader(nested);
  return ReadNodeTree(reader, TreeStyle::kDrive);
}

std::vector<std::string_view> FormatNames() {
  std::vector<std::string_view> names;
  for (const DriverSchema& schema : DriverSchemas()) names.push_back(schema.name);
  return names;
}

}  // namespace millrace
