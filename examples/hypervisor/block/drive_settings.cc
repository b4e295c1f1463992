#include "examples/hypervisor/block/drive_settings.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "examples/hypervisor/block/throttle_objects.h"
#include "examples/hypervisor/qmp/argument_reader.h"
#include "examples/hypervisor/qmp/object_registry.h"
#include "examples/hypervisor/qmp/qmp_error.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

std::optional<std::string> TakeText(json::object& options, std::string_view name) {
  const auto found = options.find(JsonKey(name));
  if (found == options.end() || !found->value().is_string()) return std::nullopt;
  std::string text(View(found->value().get_string()));
  options.erase(found);
  return text;
}

absl::Status TakeFlag(json::object& options, std::string_view name, bool* flag) {
  const std::optional<std::string> text = TakeText(options, name);
  if (!text) return absl::OkStatus();
  const json::object given = {{JsonKey(name), *text}};
  ArgumentReader reader(given, ScalarStyle::kText);
  *flag = reader.OptionalBool(name).value_or(*flag);
  return reader.Finish();
}

// The nodes' own cache options win over the mode.
json::object& CacheOf(json::object& options) {
  json::value& cache = options["cache"];
  if (!cache.is_object()) cache = json::object();
  return cache.get_object();
}

absl::Status TakeCacheMode(json::object& options, const std::optional<std::string>& mode,
                           DriveSettings* settings) {
  if (mode) {
    const bool is_direct = IsOneOf(*mode, {"none", "off", "directsync"});
    if (!is_direct && !IsOneOf(*mode, {"writeback", "writethrough", "unsafe"})) {
      return GenericError("invalid cache option");
    }
    settings->writes_through = IsOneOf(*mode, {"directsync", "writethrough"});
    json::object& cache = CacheOf(options);
    cache.emplace("direct", is_direct ? "on" : "off");
    cache.emplace("no-flush", *mode == "unsafe" ? "on" : "off");
  }
  const json::value* cache = options.if_contains("cache");
  if (cache == nullptr || !cache->is_object()) return absl::OkStatus();
  bool writes_back = !settings->writes_through;
  MILLRACE_RETURN_IF_ERROR(TakeFlag(CacheOf(options), "writeback", &writes_back));
  settings->writes_through = !writes_back;
  return absl::OkStatus();
}

// An option by its older name, which is told as `key` of `place` from now on.
absl::Status Rename(json::object& options, std::string_view old_name, std::string_view shown_name,
                    std::string_view key, json::object& place) {
  const std::optional<std::string> value = TakeText(options, old_name);
  if (!value) return absl::OkStatus();
  if (place.contains(JsonKey(key))) {
    return GenericError(
        StrCat("'", shown_name, "' and its alias '", old_name, "' can't be used at the same time"));
  }
  place[JsonKey(key)] = *value;
  return absl::OkStatus();
}

// Limits have old names too: "bps_rd_max" is "throttling.bps-read-max".
absl::Status TakeOldThrottleNames(json::object& options, json::object& throttling) {
  constexpr std::pair<std::string_view, std::string_view> kOldNames[] = {
      {"bps", "bps-total"},   {"bps_rd", "bps-read"},   {"bps_wr", "bps-write"},
      {"iops", "iops-total"}, {"iops_rd", "iops-read"}, {"iops_wr", "iops-write"}};
  for (const auto& [old_name, name] : kOldNames) {
    for (const std::string_view suffix : {"", "max"}) {
      const std::string old =
          suffix.empty() ? std::string(old_name) : StrCat(old_name, "_", suffix);
      const std::string now = suffix.empty() ? std::string(name) : StrCat(name, "-", suffix);
      MILLRACE_RETURN_IF_ERROR(Rename(options, old, StrCat("throttling.", now), now, throttling));
    }
  }
  MILLRACE_RETURN_IF_ERROR(
      Rename(options, "iops_size", "throttling.iops-size", "iops-size", throttling));
  return Rename(options, "group", "throttling.group", "group", throttling);
}

absl::Status TakeThrottling(json::object& options, DriveSettings* settings) {
  json::object throttling;
  if (const auto found = options.find("throttling");
      found != options.end() && found->value().is_object()) {
    throttling = found->value().get_object();
    options.erase(found);
  }
  MILLRACE_RETURN_IF_ERROR(TakeOldThrottleNames(options, throttling));
  ArgumentReader reader(throttling, ScalarStyle::kText, "throttling");
  settings->throttle_group = reader.OptionalString("group").value_or("");
  ReadThrottleLimits(reader, LimitNames::kOfGroups, "", &settings->limits);
  MILLRACE_RETURN_IF_ERROR(reader.Finish());
  return CheckThrottleLimits(settings->limits);
}

// "stats-intervals.0=60,stats-intervals.1=3600". Other forms are no options of a drive.
absl::Status TakeStatsIntervals(json::object& options, DriveSettings* settings) {
  const auto found = options.find("stats-intervals");
  if (found == options.end()) return absl::OkStatus();
  if (found->value().is_object() && !found->value().get_object().empty()) {
    const std::string_view first = View(found->value().get_object().begin()->key());
    return GenericError(StrCat("Invalid option stats-intervals.", first));
  }
  if (!found->value().is_array()) return absl::OkStatus();
  for (const json::value& element : found->value().get_array()) {
    const std::string text =
        element.is_string() ? std::string(View(element.get_string())) : json::serialize(element);
    uint32_t seconds = 0;
    if (!absl::SimpleAtoi(text, &seconds) || seconds == 0) {
      return GenericError(StrCat("Invalid interval length: ", text));
    }
    settings->stats_intervals.push_back(seconds);
  }
  options.erase(found);
  return absl::OkStatus();
}

absl::Status TakeErrorActions(json::object& options) {
  // Guest devices do no I/O, so there is nothing to stop.
  for (const auto& [name, what] : {std::pair("werror", "write"), std::pair("rerror", "read")}) {
    const std::optional<std::string> action = TakeText(options, name);
    const bool is_read = std::string_view(name) == "rerror";
    if (!action || IsOneOf(*action, {"ignore", "stop", "report"}) ||
        (!is_read && *action == "enospc")) {
      continue;
    }
    return GenericError(StrCat("'", *action, "' invalid ", what, " error action"));
  }
  return absl::OkStatus();
}

absl::Status TakeInterface(json::object& options, DriveSettings* settings) {
  if (auto interface = TakeText(options, "if")) settings->interface = *interface;
  if (auto media = TakeText(options, "media")) {
    if (!IsOneOf(*media, {"disk", "cdrom"})) {
      return GenericError(StrCat("'", *media, "' invalid media"));
    }
    settings->is_cdrom = *media == "cdrom";
  }
  if (IsOneOf(settings->interface,
              {"none", "virtio", "ide", "scsi", "floppy", "sd", "pflash", "mtd", "xen"})) {
    return absl::OkStatus();
  }
  return GenericError(StrCat("unsupported bus type '", settings->interface, "'"));
}

// Where a drive sits in the guest is all the same to us, as long as there is such a place.
absl::Status TakePlace(json::object& options, DriveSettings* settings) {
  for (const auto& [name, place] :
       {std::pair("bus", &settings->bus), std::pair("unit", &settings->unit),
        std::pair("index", &settings->index)}) {
    const std::optional<std::string> text = TakeText(options, name);
    uint64_t number = 0;
    if (!text) continue;
    if (!absl::SimpleAtoi(*text, &number)) {
      return GenericError(StrCat("Parameter '", name, "' expects a number"));
    }
    *place = static_cast<int>(std::min<uint64_t>(number, std::numeric_limits<int>::max() / 2));
  }
  if (settings->index && (settings->bus.value_or(0) != 0 || settings->unit)) {
    return GenericError("index cannot be used with bus and unit");
  }
  if (settings->interface == "ide" && settings->unit.value_or(0) > 1) {
    return GenericError(StrCat("unit ", *settings->unit, " too big (max is 1)"));
  }
  return absl::OkStatus();
}

// Options of the nodes whose values a drive's options are checked for in words of their own.
absl::Status CheckWords(const json::object& options) {
  const auto is_one_of = [&](const char* name, std::initializer_list<std::string_view> words) {
    const json::value* value = options.if_contains(name);
    return value == nullptr || !value->is_string() || IsOneOf(View(value->get_string()), words);
  };
  if (!is_one_of("discard", {"ignore", "off", "unmap", "on"})) {
    return GenericError("Invalid discard option");
  }
  if (!is_one_of("detect-zeroes", {"off", "on", "unmap"})) {
    return GenericError(
        StrCat("invalid parameter value: ", View(options.at("detect-zeroes").get_string())));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DriveSettings> TakeDriveSettings(json::object& options,
                                                const std::optional<std::string>& cache_mode) {
  DriveSettings settings;
  if (auto id = TakeText(options, "id")) {
    if (!IsIdentifier(*id)) return GenericError("Parameter 'id' expects an identifier");
    settings.id = *id;
  }
  MILLRACE_RETURN_IF_ERROR(TakeInterface(options, &settings));
  MILLRACE_RETURN_IF_ERROR(TakeFlag(options, "copy-on-read", &settings.copies_on_read));
  MILLRACE_RETURN_IF_ERROR(TakeFlag(options, "snapshot", &settings.is_snapshot));
  MILLRACE_RETURN_IF_ERROR(TakeFlag(options, "stats-account-invalid", &settings.accounts_invalid));
  MILLRACE_RETURN_IF_ERROR(TakeFlag(options, "stats-account-failed", &settings.accounts_failed));
  MILLRACE_RETURN_IF_ERROR(TakeStatsIntervals(options, &settings));
  MILLRACE_RETURN_IF_ERROR(TakeErrorActions(options));
  MILLRACE_RETURN_IF_ERROR(TakeCacheMode(options, cache_mode, &settings));
  MILLRACE_RETURN_IF_ERROR(TakeThrottling(options, &settings));
  if (auto format = TakeText(options, "format")) {
    if (options.contains("driver")) {
      return GenericError("Cannot specify both 'driver' and 'format'");
    }
    options["driver"] = *format;
  }
  MILLRACE_RETURN_IF_ERROR(CheckWords(options));
  if (auto aio = TakeText(options, "aio");
      aio && !IsOneOf(*aio, {"threads", "native", "io_uring"})) {
    return GenericError("invalid aio option");
  }
  MILLRACE_RETURN_IF_ERROR(TakePlace(options, &settings));
  MILLRACE_RETURN_IF_ERROR(Rename(options, "readonly", "read-only", "read-only", options));
  return settings;
}

}  // namespace millrace
