#include "examples/hypervisor/block/tree_options.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "examples/hypervisor/options/keyval.h"
#include "examples/hypervisor/qmp/json_text.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

enum class OptionKind : uint8_t { kText, kNumber, kFlag, kRules, kTexts };

struct DriverOption {
  std::string_view name;
  OptionKind kind = OptionKind::kText;
  bool is_required = false;
  // Nothing to be set here: the engine has its own way, which serves the same end.
  bool is_hint = false;
};

enum class ChildNeed : uint8_t { kRequired, kOptional, kList };

struct DriverChild {
  std::string_view name;
  ChildNeed need = ChildNeed::kRequired;
};

struct DriverSchema {
  std::string_view name;
  std::vector<DriverOption> options;
  std::vector<DriverChild> children;
};

using enum OptionKind;

const std::vector<DriverSchema>& Schemas() {
  static const auto* const schemas = new std::vector<DriverSchema>{
      {"blkdebug",
       {{"config"},
        {"inject-error", kRules},
        {"set-state", kRules},
        {"take-child-perms", kTexts},
        {"unshare-child-perms", kTexts}},
       {{"image"}}},
      {"copy-on-read", {{"bottom"}}, {{"file"}}},
      {"file", {{"filename", kText, true}, {"locking"}, {"aio", kText, false, true}}, {}},
      {"null-aio", {{"size", kNumber}, {"latency-ns", kNumber}, {"read-zeroes", kFlag}}, {}},
      {"null-co", {{"size", kNumber}, {"latency-ns", kNumber}, {"read-zeroes", kFlag}}, {}},
      {"qcow2",
       {{"cache-size", kNumber},
        {"l2-cache-size", kNumber, false, true},
        {"refcount-cache-size", kNumber, false, true},
        {"cache-clean-interval", kNumber, false, true},
        {"pass-discard-request", kFlag, false, true},
        {"lazy-refcounts", kFlag, false, true}},
       {{"file"}, {"backing", ChildNeed::kOptional}}},
      {"quorum",
       {{"vote-threshold", kNumber, true},
        {"blkverify", kFlag},
        {"rewrite-corrupted", kFlag},
        {"read-pattern"}},
       {{"children", ChildNeed::kList}}},
      {"raw", {{"offset", kNumber}, {"size", kNumber}}, {{"file"}}},
      {"throttle", {{"throttle-group", kText, true}}, {{"file"}}},
  };
  return *schemas;
}

const DriverSchema* SchemaOf(std::string_view driver) {
  for (const DriverSchema& schema : Schemas()) {
    if (schema.name == driver) return &schema;
  }
  return nullptr;
}

std::string TextOf(const json::value& value) {
  if (value.is_bool()) return value.get_bool() ? "on" : "off";
  if (value.is_string()) return std::string(View(value.get_string()));
  if (value.is_int64()) return StrCat(value.get_int64());
  if (value.is_uint64()) return StrCat(value.get_uint64());
  return json::serialize(value);
}

class TreeReader {
 public:
  explicit TreeReader(TreeStyle style) : style_(style) {}

  // The first error stays in the reader.
  NodeTree Read(ArgumentReader& reader, size_t depth, bool must_name_driver) {
    NodeTree tree;
    if (depth > kNodeTreeDepthMax) {
      reader.Fail(GenericError("Block node options are nested too deeply"));
      return tree;
    }
    ReadDriver(reader, must_name_driver, &tree);
    ReadCommon(reader, &tree);
    const DriverSchema* schema = SchemaOf(tree.driver);
    if (schema != nullptr) {
      for (const DriverOption& option : schema->options) ReadOption(reader, option, &tree);
      for (const DriverChild& child : schema->children) ReadChild(reader, child, depth, &tree);
    } else {
      ReadAnything(reader, depth, &tree);
    }
    if (absl::Status status = reader.Finish(); !status.ok()) reader.Fail(std::move(status));
    return tree;
  }

 private:
  void ReadDriver(ArgumentReader& reader, bool must_name_driver, NodeTree* tree) {
    std::optional<std::string> driver;
    if (must_name_driver) {
      driver = reader.String("driver");
    } else {
      driver = reader.OptionalString("driver");
    }
    if (!driver || !reader.ok()) return;
    tree->driver = *driver;
    if (SchemaOf(*driver) != nullptr) return;
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
    if (reader.OptionalBool("force-share").value_or(false)) {
      reader.Fail(
          GenericError("Parameter 'force-share' is not supported: use a copy or stop the "
                       "program that has the image open"));
    }
    if (auto detect = reader.OptionalEnum("detect-zeroes", kDetect)) {
      tree->detect_zeroes = static_cast<DetectZeroes>(*detect);
    }
  }

  void ReadOption(ArgumentReader& reader, const DriverOption& option, NodeTree* tree) {
    std::optional<std::string> text;
    switch (option.kind) {
      case kText:
        text = option.is_required && style_ == TreeStyle::kBlockdev
                   ? std::optional<std::string>(reader.String(option.name))
                   : reader.OptionalString(option.name);
        break;
      case kNumber:
        if (option.is_required && style_ == TreeStyle::kBlockdev && !reader.Has(option.name)) {
          reader.Fail(GenericError(StrCat("Parameter '", option.name, "' is missing")));
        }
        if (style_ == TreeStyle::kDrive) {
          if (auto size = reader.OptionalSize(option.name)) text = StrCat(*size);
        } else if (auto number = reader.OptionalInteger(option.name)) {
          text = StrCat(*number);
        }
        break;
      case kFlag:
        if (auto flag = reader.OptionalBool(option.name)) text = *flag ? "on" : "off";
        break;
      case kRules:
      case kTexts:
        ReadList(reader, option, tree);
        return;
    }
    if (text && !option.is_hint) tree->options[std::string(option.name)] = *std::move(text);
  }

  static void ReadList(ArgumentReader& reader, const DriverOption& option, NodeTree* tree) {
    const json::array* list = reader.OptionalArray(option.name);
    if (list == nullptr) return;
    for (size_t i = 0; i < list->size(); ++i) {
      const json::value& element = (*list)[i];
      const std::string prefix = StrCat(option.name, ".", i);
      if (option.kind == kTexts) {
        tree->options[prefix] = TextOf(element);
        continue;
      }
      if (!element.is_object()) {
        reader.Fail(GenericError(
            StrCat("Invalid parameter type for '", option.name, "[", i, "]', expected: object")));
        return;
      }
      for (const auto& member : element.get_object()) {
        tree->options[StrCat(prefix, ".", View(member.key()))] = TextOf(member.value());
      }
    }
  }

  void ReadChild(ArgumentReader& reader, const DriverChild& child, size_t depth, NodeTree* tree) {
    if (child.need == ChildNeed::kList) {
      const json::array* list = reader.OptionalArray(child.name);
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
      reader.Fail(GenericError(StrCat("Parameter '", child.name, "' is missing")));
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
          GenericError(StrCat("Invalid parameter type for '", path, "', expected: BlockdevRef")));
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
      }
    }
  }

  const TreeStyle style_;
};

}  // namespace

absl::StatusOr<NodeTree> ReadNodeTree(ArgumentReader& reader, TreeStyle style) {
  TreeReader trees(style);
  NodeTree tree = trees.Read(reader, 1, style == TreeStyle::kBlockdev);
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return tree;
}

absl::StatusOr<NodeTree> ParseJsonFileName(std::string_view text) {
  absl::StatusOr<json::value> value = ParseJson(text);
  if (!value.ok()) return GenericError(StrCat("Could not parse the JSON options"));
  if (!value->is_object()) return GenericError("Invalid JSON object given");
  MILLRACE_ASSIGN_OR_RETURN(const json::object nested, NestDottedMembers(value->get_object()));
  ArgumentReader reader(nested);
  return ReadNodeTree(reader, TreeStyle::kDrive);
}

std::vector<std::string_view> FormatNames() {
  std::vector<std::string_view> names;
  for (const DriverSchema& schema : Schemas()) names.push_back(schema.name);
  return names;
}

}  // namespace millrace
