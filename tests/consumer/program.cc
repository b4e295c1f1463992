// A program outside the tree that uses Millrace: what each consumer project builds and runs.
#include <cstdio>
#include <memory>
#include <string_view>
#include <vector>

#include "millrace/engine/sync/sleep.h"
#include "millrace/engine/version.h"
#include "millrace/jobs/block_runtime.h"

namespace {

// The version for the preprocessor and the version for people are one.
#define TEXT_OF(major, minor, patch) #major "." #minor "." #patch
#define EXPANDED(major, minor, patch) TEXT_OF(major, minor, patch)
static_assert(std::string_view(EXPANDED(MILLRACE_VERSION_MAJOR, MILLRACE_VERSION_MINOR,
                                        MILLRACE_VERSION_PATCH)) == MILLRACE_VERSION_STRING);

// Options are given by name, those that are wanted; nothing is said about the rest, at -Wextra.
void NameOptions() {
  using namespace millrace;  // NOLINT
  static_cast<void>(OpenImageOptions{.path = "a", .format = "qcow2"});
  static_cast<void>(CreateImageOptions{.path = "a", .qcow2 = {.bytes = 512, .version = 2}});
  static_cast<void>(ImagePathOptions{.path = "a"});
  static_cast<void>(AttachmentOptions{.device_name = "a", .permissions = GuestDevicePermissions()});
  static_cast<void>(NodeOptions{.name = "a"});
  static_cast<void>(JobSpec{.id = "a"});
  static_cast<void>(InsertFilterOptions{.spec = {.speed = 1}});
  static_cast<void>(StreamOptions{.backing_filename = "a", .job = {.spec = {.speed = 1}}});
  static_cast<void>(CommitOptions{.empties_top = true});
  static_cast<void>(MirrorOptions{.sync = MirrorSync::kTop, .job = {.filter_name = "a"}});
  std::vector<char> bytes(512);
  static_cast<void>(IoVector(bytes));
  static_cast<void>(Conflict{.object = "a"});
}

}  // namespace

int main() {
  NameOptions();
  absl::StatusOr<std::unique_ptr<millrace::Engine>> engine = millrace::Engine::Create({});
  if (!engine.ok()) return 1;
  absl::Status status = (*engine)->Run(
      [&]() MILLRACE_MAY_SUSPEND { return millrace::CoSleepFor(millrace::kMillisecond); });
  std::puts(MILLRACE_VERSION_STRING);
  return status.ok() ? 0 : 1;
}
