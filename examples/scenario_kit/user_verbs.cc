#include "examples/scenario_kit/user_verbs.h"

#include "examples/scenario_kit/run_notes.h"
#include "millrace/engine/base/text.h"

namespace millrace {

JobManager& UserVerbs::Noted(std::string_view verb, JobKey job) {
  if (scheduler_.observer() != nullptr) {
    NoteAct(scheduler_, "user",
            job.is_number() ? StrCat(verb, " job number ", job.number().value())
                            : StrCat(verb, " job '", job.id(), "'"));
  }
  return jobs_;
}

}  // namespace millrace
