#include "millrace/engine/base/status_context.h"

#include "absl/strings/cord.h"
#include "millrace/engine/base/text.h"

namespace millrace {

absl::Status WithContext(const absl::Status& status, std::string_view context) {
  absl::Status longer(status.code(), ToAbsl(StrCat(context, FromAbsl(status.message()))));
  status.ForEachPayload([&longer](absl::string_view type, const absl::Cord& payload) {
    longer.SetPayload(type, payload);
  });
  return longer;
}

}  // namespace millrace
