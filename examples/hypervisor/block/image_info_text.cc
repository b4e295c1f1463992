#include "examples/hypervisor/block/image_info_text.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "absl/strings/str_format.h"
#include "examples/hypervisor/qmp/json_fields.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

std::string ValueText(const json::value& value) {
  if (value.is_string()) return std::string(View(value.get_string()));
  if (value.is_bool()) return value.get_bool() ? "true" : "false";
  return json::serialize(value);
}

std::string BackingText(const json::object& image) {
  const std::string_view name = TextOf(image, "backing-filename");
  if (name.empty()) return {};
  std::string text = StrCat("backing file: ", name);
  const std::string_view full = TextOf(image, "full-backing-filename");
  if (full != name) StrAppend(&text, " (actual path: ", full, ")");
  text += '\n';
  const std::string_view format = TextOf(image, "backing-filename-format");
  if (!format.empty()) StrAppend(&text, "backing file format: ", format, "\n");
  return text;
}

}  // namespace

std::string RoundedSizeText(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  // The next unit begins at 1000, so that three digits are enough.
  size_t unit = 0;
  double number = static_cast<double>(bytes);
  while (number >= 1000 && unit + 1 < std::size(kUnits)) {
    number /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.3g %s", number, kUnits[unit]);
}

std::string FormatFactsText(const json::object& image) {
  const json::value* specific = image.if_contains("format-specific");
  if (specific == nullptr) return {};
  const json::object& facts = specific->at("data").as_object();
  // QEMU's order, which is that of a hash table; what it does not know comes last.
  constexpr std::string_view kOrder[] = {"compat",        "compression-type", "lazy-refcounts",
                                         "refcount-bits", "data-file",        "data-file-raw",
                                         "corrupt",       "extended-l2"};
  std::string text;
  const auto append = [&](std::string_view name, const json::value& value) {
    std::string words(name);
    std::replace(words.begin(), words.end(), '-', ' ');
    StrAppend(&text, "    ", words, ": ", ValueText(value), "\n");
  };
  for (std::string_view name : kOrder) {
    if (const json::value* value = facts.if_contains({name.data(), name.size()})) {
      append(name, *value);
    }
  }
  for (const auto& fact : facts) {
    const std::string_view name = View(fact.key());
    if (std::find(std::begin(kOrder), std::end(kOrder), name) == std::end(kOrder)) {
      append(name, fact.value());
    }
  }
  return text;
}

std::string ImageInfoText(const json::object& image) {
  const auto bytes = image.at("virtual-size").to_number<uint64_t>();
  const json::value* on_host = image.if_contains("actual-size");
  std::string text = StrCat(
      "image: ", TextOf(image, "filename"), "\nfile format: ", TextOf(image, "format"),
      "\nvirtual size: ", RoundedSizeText(bytes), " (", bytes, " bytes)\ndisk size: ",
      on_host == nullptr ? "unavailable" : RoundedSizeText(on_host->to_number<uint64_t>()), "\n");
  if (const json::value* cluster = image.if_contains("cluster-size")) {
    StrAppend(&text, "cluster_size: ", cluster->to_number<uint64_t>(), "\n");
  }
  if (IsSet(image, "dirty-flag")) text += "cleanly shut down: no\n";
  text += BackingText(image);
  const std::string facts = FormatFactsText(image);
  if (!facts.empty()) StrAppend(&text, "Format specific information:\n", facts);
  return text;
}

}  // namespace millrace
