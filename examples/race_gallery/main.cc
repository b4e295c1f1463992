// race_gallery: the races of QEMU's block jobs, 2011-2026, each as a bug that is put back into
// Millrace and found again. See README.md.
#include <string_view>
#include <vector>

#include "examples/race_gallery/commands.h"

int main(int argc, char** argv) {
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  return millrace::gallery::RunCommand(arguments);
}
