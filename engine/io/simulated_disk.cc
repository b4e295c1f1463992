#include "millrace/engine/io/simulated_disk.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/check.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

std::string TextOf(const SparseImage& image) {
  std::string text(static_cast<size_t>(image.bytes()), 0);
  image.Read(0, absl::MakeSpan(text));
  return text;
}

}  // namespace

SimulatedFile& SimulatedDisk::Create(std::string_view path) {
  auto file = std::make_unique<SimulatedFile>(path, next_file_++);
  auto entry = files_.emplace(std::string(path), std::move(file));
  MILLRACE_CHECK(entry.second, "a simulated file of this path exists");
  return *entry.first->second;
}

SimulatedFile& SimulatedDisk::Put(std::string_view path, std::string_view contents,
                                  uint64_t bytes) {
  SimulatedFile* file = Find(path);
  if (file == nullptr) file = &Create(path);
  SparseImage image;
  image.Write(0, {contents.data(), contents.size()});
  image.Resize(std::max<uint64_t>(contents.size(), bytes));
  file->Reset(std::move(image));
  return *file;
}

SimulatedFile* SimulatedDisk::Find(std::string_view path) {
  auto entry = files_.find(path);
  return entry == files_.end() ? nullptr : entry->second.get();
}

const SimulatedFile* SimulatedDisk::Find(std::string_view path) const {
  auto entry = files_.find(path);
  return entry == files_.end() ? nullptr : entry->second.get();
}

std::string SimulatedDisk::Contents(std::string_view path) const {
  const SimulatedFile* file = Find(path);
  MILLRACE_CHECK(file != nullptr, StrCat("no simulated file '", path, "'"));
  return TextOf(file->current());
}

std::string SimulatedDisk::DurableContents(std::string_view path) const {
  const SimulatedFile* file = Find(path);
  MILLRACE_CHECK(file != nullptr, StrCat("no simulated file '", path, "'"));
  return TextOf(file->durable());
}

void SimulatedDisk::Remove(std::string_view path) {
  auto entry = files_.find(path);
  if (entry != files_.end()) files_.erase(entry);
}

std::vector<std::string> SimulatedDisk::Paths() const {
  std::vector<std::string> paths;
  for (const auto& entry : files_) paths.push_back(entry.first);
  return paths;
}

uint64_t SimulatedDisk::allocated_bytes() const {
  uint64_t bytes = 0;
  for (const auto& entry : files_) bytes += entry.second->current().allocated_bytes();
  return bytes;
}

std::unique_ptr<SimulatedDisk> SimulatedDisk::Clone() const {
  auto clone = std::make_unique<SimulatedDisk>(options_);
  for (const auto& entry : files_) clone->Create(entry.first).Reset(entry.second->current());
  return clone;
}

void SimulatedDisk::HoldLock(std::string_view path, uint64_t byte, std::string_view holder) {
  SimulatedFile* file = Find(path);
  MILLRACE_CHECK(file != nullptr, StrCat("no simulated file '", path, "'"));
  file->SetOutsideHolder(byte, holder);
}

std::unique_ptr<SimulatedDisk> SimulatedDisk::AfterCrash(Survives survives) const {
  auto left = std::make_unique<SimulatedDisk>(options_);
  for (const auto& entry : files_) {
    left->Create(entry.first).Reset(entry.second->AfterCrash({}, survives));
  }
  return left;
}

}  // namespace millrace
