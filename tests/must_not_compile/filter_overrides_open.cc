// A filter without its context would end the program at its first request: the base opens it.
// expect: declaration of 'CoOpen' overrides a 'final' function
#include "millrace/graph/driver.h"

class Own final : public millrace::FilterDriver {
  std::string_view driver_name() const override { return "own"; }
  absl::Status CoOpen(millrace::DriverContext&) override MILLRACE_MAY_SUSPEND {
    return absl::OkStatus();
  }
};
