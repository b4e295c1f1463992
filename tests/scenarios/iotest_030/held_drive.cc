#include "tests/scenarios/iotest_030/held_drive.h"

#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/sync/event.h"
#include "millrace/graph/driver.h"
#include "millrace/jobs/insert_filter/insert_filter_job.h"

namespace millrace {

struct HeldDrive::State {
  Event somebody_is_held{"somebody reads from the drive"};
  Event is_released{"the drive is released"};
};

namespace {

class HoldFilter final : public FilterDriver {
 public:
  explicit HoldFilter(std::shared_ptr<HeldDrive::State> state) : state_(std::move(state)) {}

  std::string_view driver_name() const override { return "hold"; }
  absl::Status CoRead(uint64_t offset, const IoVector& target) override MILLRACE_MAY_SUSPEND {
    state_->somebody_is_held.Set();
    state_->is_released.CoWait();
    return FilterDriver::CoRead(offset, target);
  }

 private:
  const std::shared_ptr<HeldDrive::State> state_;
};

}  // namespace

HeldDrive::HeldDrive(ChainStory& story, size_t layer)
    : story_(story), layer_(layer), state_(std::make_shared<State>()) {}

HeldDrive::~HeldDrive() { Release(); }

absl::Status HeldDrive::CoHold() {
  InsertFilterOptions insert;
  insert.spec.id = "hold";
  insert.below = story_.node(layer_);
  insert.filter_name = "hold";
  MILLRACE_ASSIGN_OR_RETURN(
      const JobNumber inserting,
      CoStartInsertFilter(story_.graph(), story_.jobs(), std::make_unique<HoldFilter>(state_),
                          std::move(insert)));
  return story_.CoOver(inserting);
}

void HeldDrive::CoWaitUntilHeld() { state_->somebody_is_held.CoWait(); }

void HeldDrive::Release() { state_->is_released.Set(); }

}  // namespace millrace
