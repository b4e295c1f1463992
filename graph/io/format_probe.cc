#include "millrace/graph/io/format_probe.h"

#include <algorithm>

namespace millrace {
namespace {

using namespace std::string_view_literals;

// Bytes at a place.
struct Mark {
  size_t offset = 0;
  std::string_view bytes{};
};

// A format, and marks that its images have all of.
struct Signature {
  std::string_view format;
  Mark first;
  Mark second{};
};

constexpr Signature kSignatures[] = {
    {"qcow", {0, "QFI\xfb\0\0\0\1"sv}},
    {"qed", {0, "QED\0"sv}},
    {"vdi", {64, "\x7f\x10\xda\xbe"sv}},
    {"vhdx", {0, "vhdxfile"sv}},
    {"vmdk", {0, "KDMV"sv}},
    {"vmdk", {0, "COWD"sv}},
    {"vpc", {0, "conectix"sv}},
    {"luks", {0, "LUKS\xba\xbe\0\1"sv}},
    {"parallels", {0, "WithoutFreeSpace"sv}, {16, "\2\0\0\0"sv}},
    {"parallels", {0, "WithouFreSpacExt"sv}, {16, "\2\0\0\0"sv}},
    {"cloop",
     {0,
      "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"sv}},
    {"bochs", {0, "Bochs Virtual HD Image\0"sv}, {64, "\0\0\1\0"sv}},
    {"bochs", {0, "Bochs Virtual HD Image\0"sv}, {64, "\0\0\2\0"sv}},
};

bool Has(std::string_view head, const Mark& mark) {
  return head.size() >= mark.offset && head.substr(mark.offset).starts_with(mark.bytes);
}

// Every version from 2 on: one that is too new is a qcow2 image all the same.
bool IsQcow2(std::string_view head) {
  return head.size() >= 8 && head.starts_with("QFI\xfb"sv) &&
         (head.substr(4, 3) != "\0\0\0"sv || static_cast<uint8_t>(head[7]) >= 2);
}

// The text that describes a disk of several files: comments and blank lines, then its version.
bool IsVmdkDescription(std::string_view head) {
  while (!head.empty()) {
    const size_t end = head.find('\n');
    std::string_view line = head.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line == "version=1" || line == "version=2" || line == "version=3") {
      return end != std::string_view::npos;
    }
    const bool is_blank = line.find_first_not_of(' ') == std::string_view::npos;
    if (end == std::string_view::npos || !(line.starts_with('#') || is_blank)) return false;
    head.remove_prefix(end + 1);
  }
  return false;
}

}  // namespace

std::string_view ProbeFormat(absl::Span<const uint8_t> bytes) {
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()),
                              std::min(bytes.size(), kProbeBytes));
  if (IsQcow2(head)) return "qcow2";
  for (const Signature& each : kSignatures) {
    if (Has(head, each.first) && Has(head, each.second)) return each.format;
  }
  return IsVmdkDescription(head) ? "vmdk" : "raw";
}

}  // namespace millrace
