#include "tests/support/qemu_tools.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "tests/support/command.h"

namespace millrace {
namespace {

std::string Quoted(std::string_view argument) {
  std::string quoted = "'";
  for (char c : argument) {
    if (c == '\'') {
      quoted += "'\\''";
    } else {
      quoted += c;
    }
  }
  return quoted + "'";
}

// The text behind `"key": ` in one line of JSON; empty if the key is not there.
std::string_view Field(std::string_view line, std::string_view key) {
  const std::string wanted = StrCat("\"", key, "\": ");
  const size_t found = line.find(wanted);
  if (found == std::string_view::npos) return {};
  line.remove_prefix(found + wanted.size());
  return line.substr(0, line.find_first_of(",}"));
}

uint64_t Number(std::string_view line, std::string_view key) {
  return std::strtoull(std::string(Field(line, key)).c_str(), nullptr, 10);
}

}  // namespace

void WriteFile(const std::string& path, absl::Span<const uint8_t> content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(content.data()),
             static_cast<std::streamsize>(content.size()));
}
std::vector<uint8_t> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::vector<uint8_t> content(file ? static_cast<size_t>(file.tellg()) : 0);
  file.seekg(0);
  file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()));
  return content;
}

bool HasQemuTools() { return HasProgram("qemu-img") && HasProgram("qemu-io"); }

CommandResult RunToolThatMayFail(const std::vector<std::string>& arguments) {
  std::string command;
  for (const std::string& argument : arguments) command += Quoted(argument) + " ";
  return RunCommand(command);
}

absl::StatusOr<std::string> RunTool(const std::vector<std::string>& arguments) {
  CommandResult result = RunToolThatMayFail(arguments);
  if (result.exit_code == 0) return std::move(result.output);
  std::string command;
  for (const std::string& argument : arguments) command += argument + " ";
  return absl::InternalError(
      StrCat(command, "failed with ", result.exit_code, ": ", result.output));
}

absl::StatusOr<std::vector<QemuExtent>> QemuMap(const std::string& image) {
  MILLRACE_ASSIGN_OR_RETURN(const std::string output,
                            RunTool({"qemu-img", "map", "-f", "qcow2", "--output=json", image}));
  std::vector<QemuExtent> extents;
  std::string_view rest = output;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.find("\"start\"") == std::string_view::npos) continue;
    QemuExtent extent;
    extent.start = Number(line, "start");
    extent.bytes = Number(line, "length");
    extent.depth = Number(line, "depth");
    extent.is_present = Field(line, "present") == "true";
    extent.is_zero = Field(line, "zero") == "true";
    extent.is_data = Field(line, "data") == "true";
    extent.has_offset = !Field(line, "offset").empty();
    extent.offset = Number(line, "offset");
    extents.push_back(extent);
  }
  return extents;
}

std::string QemuMapText(const std::string& image,
                        absl::FunctionRef<std::string(const QemuExtent&)> describe) {
  const absl::StatusOr<std::vector<QemuExtent>> map = QemuMap(image);
  if (!map.ok()) return map.status().ToString();
  std::string text;
  std::string last;
  for (const QemuExtent& extent : *map) {
    std::string what = describe(extent);
    if (what != last) StrAppend(&text, extent.start, " ", what, "\n");
    last = std::move(what);
  }
  return text;
}

absl::StatusOr<std::vector<uint8_t>> QemuContent(const TemporaryFolder& folder,
                                                 const std::string& image,
                                                 const std::string& snapshot) {
  std::vector<std::string> command = {"qemu-img", "convert", "-f", "qcow2", "-O", "raw"};
  if (!snapshot.empty()) {
    command.insert(command.end(), {"-l", StrCat("snapshot.name=", snapshot)});
  }
  command.insert(command.end(), {folder.File(image), folder.File("content.raw")});
  MILLRACE_RETURN_IF_ERROR(RunTool(command).status());
  return ReadFile(folder.File("content.raw"));
}

absl::Status QemuCheck(const std::string& image) {
  return RunTool({"qemu-img", "check", "-f", "qcow2", image}).status();
}

}  // namespace millrace
