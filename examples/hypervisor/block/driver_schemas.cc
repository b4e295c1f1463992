#include "examples/hypervisor/block/driver_schemas.h"

#include <algorithm>
#include <iterator>

namespace millrace {
namespace {

using enum OptionKind;

DriverOption Number(std::string_view name, std::string_view library_name = {}) {
  return {.name = name, .kind = kNumber, .library_name = library_name};
}

DriverOption Flag(std::string_view name) { return {.name = name, .kind = kFlag}; }

DriverOption TextOption(std::string_view name, std::string_view library_name = {}) {
  return {.name = name, .library_name = library_name};
}

DriverOption Choice(std::string_view name, std::vector<std::string_view> choices,
                    std::string_view library_name = {}) {
  return {
      .name = name, .kind = kChoice, .library_name = library_name, .choices = std::move(choices)};
}

DriverOption Content(DriverOption option) {
  option.library_name = option.name;
  option.changes_content = true;
  return option;
}

DriverOption Changeable(DriverOption option) {
  option.is_changeable = true;
  return option;
}

DriverOption Required(DriverOption option) {
  option.is_required = true;
  return option;
}

DriverSchema Blkdebug() {
  return {"blkdebug",
          {Content(TextOption("config")),
           Number("align", "align"),
           Number("max-transfer", "max-transfer"),
           Number("opt-write-zero", "opt-write-zero"),
           Number("max-write-zero", "max-write-zero"),
           Number("opt-discard", "opt-discard"),
           Number("max-discard", "max-discard"),
           Content({.name = "inject-error", .kind = kRules}),
           Content({.name = "set-state", .kind = kRules}),
           {.name = "take-child-perms", .kind = kTexts, .library_name = "take-child-perms"},
           {.name = "unshare-child-perms", .kind = kTexts, .library_name = "unshare-child-perms"}},
          {{"image"}}};
}

DriverSchema File() {
  return {"file",
          {Required(TextOption("filename", "filename")), TextOption("pr-manager"),
           Choice("locking", {"auto", "on", "off"}, "locking"),
           Choice("aio", {"threads", "native", "io_uring"}), Number("aio-max-batch"),
           Flag("drop-cache"), Changeable(Flag("x-check-cache-dropped"))},
          {}};
}

DriverSchema Null(std::string_view name) {
  return {
      name,
      {Content(Number("size")), Number("latency-ns", "latency-ns"), Content(Flag("read-zeroes"))},
      {}};
}

DriverSchema Qcow2() {
  return {"qcow2",
          {Changeable(Flag("lazy-refcounts")), Changeable(Flag("pass-discard-request")),
           Changeable(Flag("pass-discard-snapshot")), Changeable(Flag("pass-discard-other")),
           Changeable({.name = "overlap-check", .kind = kOverlapCheck}),
           Changeable(Number("cache-size")), Changeable(Number("l2-cache-size")),
           Changeable(Number("l2-cache-entry-size")), Changeable(Number("refcount-cache-size")),
           Changeable(Number("cache-clean-interval"))},
          {{"file"}, {"backing", ChildNeed::kOptional}}};
}

DriverSchema Quorum() {
  return {"quorum",
          {{.name = "blkverify", .kind = kFlag, .changes_content = true},
           Content(Required(Number("vote-threshold"))),
           Content(Flag("rewrite-corrupted")),
           Content(Choice("read-pattern", {"quorum", "fifo"}))},
          {{"children", ChildNeed::kList}}};
}

}  // namespace

const std::vector<DriverSchema>& DriverSchemas() {
  static const auto* const schemas = new std::vector<DriverSchema>{
      Blkdebug(),
      {"blkverify", {}, {{"raw"}, {"test"}}},
      {"copy-on-read", {TextOption("bottom", "bottom")}, {{"file"}}},
      File(),
      Null("null-aio"),
      Null("null-co"),
      Qcow2(),
      Quorum(),
      {"raw",
       {Changeable(Content(Number("offset"))), Changeable(Content(Number("size")))},
       {{"file"}}},
      {"throttle", {Changeable(Content(Required(TextOption("throttle-group"))))}, {{"file"}}},
  };
  return *schemas;
}

const DriverSchema* FindDriverSchema(std::string_view driver) {
  for (const DriverSchema& schema : DriverSchemas()) {
    if (schema.name == driver) return &schema;
  }
  return nullptr;
}

bool IsForeignDriver(std::string_view driver) {
  constexpr std::string_view kForeign[] = {"blklogwrites", "blkreplay",
                                           "bochs",        "cloop",
                                           "compress",     "copy-before-write",
                                           "dmg",          "ftp",
                                           "ftps",         "gluster",
                                           "host_cdrom",   "host_device",
                                           "http",         "https",
                                           "iscsi",        "luks",
                                           "nbd",          "nfs",
                                           "nvme",         "parallels",
                                           "preallocate",  "qcow",
                                           "qed",          "rbd",
                                           "replication",  "snapshot-access",
                                           "ssh",          "vdi",
                                           "vhdx",         "vmdk",
                                           "vpc",          "vvfat"};
  return std::find(std::begin(kForeign), std::end(kForeign), driver) != std::end(kForeign);
}

const DriverOption* FindDriverOption(const DriverSchema& schema, std::string_view name) {
  for (const DriverOption& option : schema.options) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

}  // namespace millrace
