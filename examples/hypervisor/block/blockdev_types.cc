#include "examples/hypervisor/block/blockdev_types.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/hypervisor/block/driver_schemas.h"
#include "examples/hypervisor/qmp/command_table.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

json::object Member(std::string_view name, std::string_view type, bool is_optional) {
  json::object member = {{"name", std::string(name)}, {"type", std::string(type)}};
  if (is_optional) member["default"] = nullptr;
  return member;
}

json::object Object(std::string name, json::array members) {
  return {{"name", std::move(name)}, {"meta-type", "object"}, {"members", std::move(members)}};
}

json::object ListOf(std::string_view type) {
  return {{"name", StrCat("[", type, "]")},
          {"meta-type", "array"},
          {"element-type", std::string(type)}};
}

json::object Alternate(std::string_view name, const std::vector<std::string_view>& types) {
  json::array members;
  for (const std::string_view type : types)
    members.push_back(json::object({{"type", std::string(type)}}));
  return {{"name", std::string(name)}, {"meta-type", "alternate"}, {"members", std::move(members)}};
}

std::string TypeOf(const DriverSchema& driver, const DriverOption& option) {
  switch (option.kind) {
    case OptionKind::kText:
      return "str";
    case OptionKind::kNumber:
      return "int";
    case OptionKind::kFlag:
      return "bool";
    case OptionKind::kChoice:
      return StrCat("enum-", driver.name, "-", option.name);
    case OptionKind::kTexts:
      return "[str]";
    case OptionKind::kRules:
      return "[any]";
    case OptionKind::kOverlapCheck:
      break;
  }
  return "any";
}

std::string_view TypeOf(const DriverChild& child) {
  if (child.need == ChildNeed::kList) return "[BlockdevRef]";
  return child.need == ChildNeed::kOptional ? "BlockdevRefOrNull" : "BlockdevRef";
}

// The driver's own members, and the enumerations among them.
void AppendDriver(const DriverSchema& driver, json::array* types) {
  json::array members;
  for (const DriverOption& option : driver.options) {
    members.push_back(Member(option.name, TypeOf(driver, option), !option.is_required));
    if (option.kind == OptionKind::kChoice) {
      types->push_back(DescribeEnum(TypeOf(driver, option), option.choices));
    }
  }
  for (const DriverChild& child : driver.children) {
    members.push_back(Member(child.name, TypeOf(child), child.need == ChildNeed::kOptional));
  }
  types->push_back(Object(StrCat("BlockdevOptions-", driver.name), std::move(members)));
}

json::object DescribeOptions() {
  json::array variants;
  for (const DriverSchema& driver : DriverSchemas()) {
    variants.push_back(
        {{"case", std::string(driver.name)}, {"type", StrCat("BlockdevOptions-", driver.name)}});
  }
  json::object options =
      Object("BlockdevOptions",
             {Member("driver", "BlockdevDriver", false), Member("node-name", "str", true),
              Member("discard", "BlockdevDiscardOptions", true),
              Member("cache", "BlockdevCacheOptions", true), Member("read-only", "bool", true),
              Member("auto-read-only", "bool", true), Member("force-share", "bool", true),
              Member("detect-zeroes", "BlockdevDetectZeroesOptions", true)});
  options["tag"] = "driver";
  options["variants"] = std::move(variants);
  return options;
}

}  // namespace

json::array DescribeBlockdevTypes() {
  std::vector<std::string_view> names;
  json::array types = {DescribeOptions()};
  for (const DriverSchema& driver : DriverSchemas()) {
    names.push_back(driver.name);
    AppendDriver(driver, &types);
  }
  types.push_back(DescribeEnum("BlockdevDriver", names));
  types.push_back(DescribeEnum("BlockdevDiscardOptions", {"ignore", "unmap"}));
  types.push_back(DescribeEnum("BlockdevDetectZeroesOptions", {"off", "on", "unmap"}));
  types.push_back(Object("BlockdevCacheOptions",
                         {Member("direct", "bool", true), Member("no-flush", "bool", true)}));
  types.push_back(Alternate("BlockdevRef", {"BlockdevOptions", "str"}));
  types.push_back(Alternate("BlockdevRefOrNull", {"BlockdevOptions", "str", "null"}));
  types.push_back(ListOf("BlockdevRef"));
  types.push_back(ListOf("BlockdevOptions"));
  return types;
}

}  // namespace millrace
